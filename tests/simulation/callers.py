"""Callers: they create sessions, use them, give up in the middle and ask again under the same key."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import TypeVar

from fleetkit.errors import DeadlineExceeded, FleetError, Unavailable
from session_api.control_plane import ControlPlane
from session_api.domain.browser import BrowserSpec
from session_api.domain.caller import Caller, Scope
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.leases import HolderKind
from session_api.domain.session import IdleActivity, IdlePolicy, Session
from session_api.usecases.admission import NewSession
from tests.simulation.database import SimulatedDatabase
from tests.simulation.fleet import Fleet
from tests.simulation.invariants import Invariants
from tests.simulation.process import Process
from tests.simulation.replicas import ReplicaLife
from tests.simulation.surroundings import Surroundings

T = TypeVar("T")

_TRIES = 3
_HERD_BEAT = 5.0
_ANSWERING = 0.5
_SPEC = BrowserSpec()


def caller_of(database: SimulatedDatabase, organization_id: OrganizationId) -> Caller:
    limits = database.organization(organization_id).limits
    return Caller(organization_id=organization_id, scope=Scope.MEMBER, limits=limits)


class CallingScript:
    """One caller's doings."""

    def __init__(
        self,
        around: Surroundings,
        *,
        fleet: Fleet,
        process: Process,
        invariants: Invariants,
        name: str,
        organization_id: OrganizationId,
        known: list[SessionId],
    ) -> None:
        self._fleet = fleet
        self._process = process
        self._invariants = invariants
        self._name = name
        self._organization_id = organization_id
        # Sessions of the organization, which its callers share.
        self._known = known
        self._database = around.database
        self._chance = around.chance
        self._active = around.plan.active
        self._herd = around.plan.herd
        self._calls = 0

    async def run(self) -> None:
        """Do things until the schedule's active time is over."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._pause(self._active * 0.6))
        while loop.time() < self._active:
            session = await self._create()
            if session is not None:
                self._known.append(session.id)
            if self._known:
                await self._use(self._chance.choice(self._known[-3:]))
            await asyncio.sleep(self._pause(6.0))

    def _pause(self, longest: float) -> float:
        """Return how long to wait: for the next beat where all callers act together."""
        if not self._herd:
            return self._chance.random() * longest
        now = asyncio.get_running_loop().time()
        return _HERD_BEAT - now % _HERD_BEAT + 0.01 * self._chance.random()

    async def _create(self) -> Session | None:
        """Create a session, trying again under one key where there is one."""
        chance = self._chance
        request = self._request()
        deadline = chance.choice((3.0, 8.0, 20.0))
        wait = 0.0 if chance.random() < 0.3 else deadline - _ANSWERING
        if request.request_id and chance.random() < 0.2:
            await self._create_twice(request, wait, within=deadline)
        life, tries = self._fleet.some_life(), _TRIES if request.request_id else 1
        for _ in range(tries):
            try:
                session = await self._hurried(life, self._creating(request, wait), within=deadline)
            except (Unavailable, DeadlineExceeded):
                life = self._fleet.some_life(but=life)
            except FleetError:
                return None
            else:
                return session
        return None

    async def _create_twice(self, request: NewSession, wait: float, *, within: float) -> None:
        """Ask two replicas at once under one key, as a retry does that comes too early."""
        create = self._creating(request, wait)
        life = self._fleet.some_life()
        calls = (
            self._hurried(life, create, within=within),
            self._hurried(self._fleet.some_life(but=life), create, within=within),
        )
        for answer in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, FleetError):
                raise answer

    def _creating(
        self, request: NewSession, wait: float
    ) -> Callable[[ReplicaLife], Coroutine[object, object, Session]]:
        def create(life: ReplicaLife) -> Coroutine[object, object, Session]:
            caller, plane = caller_of(self._database, self._organization_id), life.plane
            return self._invariants.created(
                life.process,
                request,
                lambda: plane.sessions.create(caller, request, wait=timedelta(seconds=wait)),
                wait,
            )

        return create

    def _request(self) -> NewSession:
        chance = self._chance
        self._calls += 1
        call = f"{self._name}-{self._calls}"
        return NewSession(
            spec=_SPEC,
            timeout=timedelta(seconds=chance.choice((10, 20, 40, 90, 400))),
            idle=self._idle(),
            queue_timeout=timedelta(seconds=chance.choice((0, 4, 15))) if chance.random() < 0.5 else None,
            labels={"call": call},
            request_id=call if chance.random() < 0.6 else "",
        )

    def _idle(self) -> IdlePolicy | None:
        if self._chance.random() < 0.8:
            return None
        activity = self._chance.choice((IdleActivity.CONNECTION, IdleActivity.INPUT))
        return IdlePolicy(timeout=timedelta(seconds=self._chance.choice((8, 14))), activity=activity)

    async def _hurried(
        self, life: ReplicaLife | None, work: Callable[[ReplicaLife], Coroutine[object, object, T]], *, within: float
    ) -> T | None:
        """Call, and hang up in the middle now and then; None then."""
        call = self._fleet.call_at(life, self._process, work, within=within)
        if self._chance.random() > 0.1:
            return await call
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._chance.random() * 2.0):
                return await call
        return None

    async def _use(self, session_id: SessionId) -> None:
        """Do this and that with a session. That it has ended meanwhile is no surprise."""
        verbs = (
            self._extend,
            self._extend_at_the_last_moment,
            self._close,
            self._close_twice,
            self._occupy,
            self._control,
            self._attach,
        )
        loop = asyncio.get_running_loop()
        for _ in range(self._chance.randint(0, 3)):
            await asyncio.sleep(self._chance.random() * 4.0)
            if loop.time() > self._active:
                return
            with contextlib.suppress(FleetError):
                await self._chance.choice(verbs)(session_id)

    async def _call(self, work: Callable[[ControlPlane, Caller], Coroutine[object, object, T]]) -> T:
        caller = caller_of(self._database, self._organization_id)
        return await self._fleet.call(self._process, lambda plane: work(plane, caller), within=20.0)

    async def _extend(self, session_id: SessionId) -> None:
        by = timedelta(seconds=self._chance.choice((5, 30)))
        await self._call(lambda plane, caller: plane.sessions.extend(caller, session_id, by=by))

    async def _extend_at_the_last_moment(self, session_id: SessionId) -> None:
        session = await self._call(lambda plane, caller: plane.sessions.get(caller, session_id))
        if session.expire_time is not None:
            left = (session.expire_time - self._database.clock.now()).total_seconds()
            await asyncio.sleep(min(max(left - self._chance.random() * 1.5, 0.0), 12.0))
            await self._extend(session_id)

    async def _attach(self, session_id: SessionId) -> None:
        browser = self._invariants.browsers.of(session_id)
        if browser is None:
            return
        browser.attach(asyncio.get_running_loop().time())
        await asyncio.sleep(self._chance.random() * 15.0)
        browser.detach()

    async def _close(self, session_id: SessionId) -> None:
        session = await self._call(lambda plane, caller: plane.sessions.close(caller, session_id))
        self._invariants.closed(session)

    async def _close_twice(self, session_id: SessionId) -> None:
        for answer in await asyncio.gather(self._close(session_id), self._close(session_id), return_exceptions=True):
            if isinstance(answer, BaseException) and not isinstance(answer, FleetError):
                raise answer

    async def _occupy(self, session_id: SessionId) -> None:
        ttl = self._chance.choice((None, timedelta(seconds=5)))
        session = await self._call(
            lambda plane, caller: plane.leasing.occupy(
                caller, session_id, kind=HolderKind.TASK, holder_id=self._name, ttl=ttl
            )
        )
        if session.occupancy is not None and self._chance.random() < 0.7:
            generation = session.occupancy.generation
            await asyncio.sleep(self._chance.random() * 4.0)
            await self._call(lambda plane, caller: plane.leasing.release(caller, session_id, generation=generation))

    async def _control(self, session_id: SessionId) -> None:
        take_over = self._chance.random() < 0.3
        session = await self._call(
            lambda plane, caller: plane.leasing.take_control(
                caller, session_id, holder=self._name, ttl=timedelta(seconds=6), take_over=take_over
            )
        )
        if session.control is not None and self._chance.random() < 0.5:
            generation = session.control.generation
            await self._call(
                lambda plane, caller: plane.leasing.release_control(caller, session_id, generation=generation)
            )
