"""Holding a session for one run: a lease that is renewed while its block goes on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

from browserfleet.client.calls import UNARY_TIMEOUT
from browserfleet.client.errors import FleetError, NotFound, OccupancyLost, SessionNotOpen, SessionOccupied
from browserfleet.client.finishing import finish, finish_after
from browserfleet.client.front_door import FrontDoor
from browserfleet.session.v1 import session_pb2, session_service_pb2

# Two renewals may fail before a lease runs out.
_RENEWALS = 3
# A call and its repetitions share UNARY_TIMEOUT; this is for what hangs all the same.
_CALL_BOUND = 2 * UNARY_TIMEOUT


class Holding:
    """One holding of a session, for one use. `learn` is told each state of the session that it hears of."""

    def __init__(
        self,
        front_door: FrontDoor,
        request: session_service_pb2.OccupySessionRequest,
        learn: Callable[[session_pb2.Session], None],
    ) -> None:
        self._front_door = front_door
        self._request = request
        self._learn = learn
        self._ttl: timedelta | None = request.ttl.ToTimedelta() if request.HasField("ttl") else None
        self._generation = 0
        # Loop time at which the lease has run out unless it is renewed; not later than by the fleet's own clock.
        self._lapse: float | None = None
        self._fault: FleetError | None = None

    @contextlib.asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the session within the block. Raises SessionOccupied, OccupancyLost, FleetError."""
        error: BaseException | None = None
        try:
            # Although the caller is cancelled meanwhile: what was taken has to be given back.
            await finish(self._take(), within=_CALL_BOUND)
            async with self._bounded():
                yield
        except BaseException as raised:
            error = raised
            raise
        finally:
            if self._generation:
                await self._release(error)

    async def _take(self) -> None:
        began = asyncio.get_running_loop().time()
        session = await self._front_door.occupy(self._request)
        self._generation = session.occupancy.generation
        self._fault = None
        self._learn(session)
        if self._ttl is not None:
            self._lapse = began + self._ttl.total_seconds()

    @contextlib.asynccontextmanager
    async def _bounded(self) -> AsyncIterator[None]:
        """End the block when the lease ends, and renew the lease so that it does not."""
        try:
            async with asyncio.timeout_at(self._lapse) as bound:
                renewal = asyncio.create_task(self._renew(bound, self._ttl)) if self._ttl is not None else None
                try:
                    yield
                finally:
                    if renewal is not None:
                        renewal.cancel()
                        await asyncio.wait({renewal})
        except TimeoutError:
            if not bound.expired():
                raise
            lost = f"session {self._request.session_id} is not held by {self._request.holder_id} any more"
            raise OccupancyLost(lost, reason="OCCUPANCY_LOST") from self._fault

    async def _renew(self, bound: asyncio.Timeout, ttl: timedelta) -> None:
        while not bound.expired():
            await asyncio.sleep(ttl.total_seconds() / _RENEWALS)
            try:
                await self._take()
            except (SessionOccupied, SessionNotOpen, NotFound) as error:
                self._fault = error
                self._lapse = asyncio.get_running_loop().time()
            except FleetError as error:
                self._fault = error
                continue
            if not bound.expired():
                bound.reschedule(self._lapse)

    async def _release(self, error: BaseException | None) -> None:
        session_id = self._request.session_id
        until = "its lease ends" if self._ttl is not None else "it ends"
        await finish_after(
            error,
            self._give_back(),
            within=_CALL_BOUND,
            otherwise=f"session {session_id} could not be released and stays occupied until {until}",
            reason="RELEASE_FAILED",
        )

    async def _give_back(self) -> None:
        self._learn(await self._front_door.release(self._request.session_id, self._generation))
