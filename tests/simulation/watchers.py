"""Watchers: they apply every piece of news, and go on from where they were when a replica is gone."""

import asyncio
import contextlib

from fleetkit.errors import FleetError
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.session import Session
from session_api.usecases.queries import SessionQuery
from session_api.usecases.watching import WatchNews
from tests.simulation.callers import caller_of
from tests.simulation.fleet import Fleet
from tests.simulation.process import Process
from tests.simulation.replicas import ReplicaLife
from tests.simulation.surroundings import Surroundings

_PAUSE = 0.5


class Watcher:
    """One organization's sessions, as news tell of them."""

    def __init__(self, around: Surroundings, fleet: Fleet, process: Process, organization_id: OrganizationId) -> None:
        self.query = SessionQuery(organization_id=organization_id)
        self.seen: dict[SessionId, Session] = {}
        self._organization_id = organization_id
        self._process = process
        self._fleet = fleet
        self._database = around.database
        self._verdicts = around.verdicts
        self._token = ""

    async def run(self) -> None:
        """Watch for ever."""
        while True:
            life = self._fleet.some_life()
            if life is not None:
                watching = life.process.spawn(self._watch(life))
                with contextlib.suppress(FleetError):
                    await asyncio.wait({watching})
            await asyncio.sleep(_PAUSE)

    async def _watch(self, life: ReplicaLife) -> None:
        caller = caller_of(self._database, self._organization_id)
        news = life.plane.watching.watch(caller, self.query, self._token)
        async with contextlib.aclosing(news):  # type: ignore[type-var]  # it is an async generator
            async for item in news:
                if item.session is not None:
                    self._apply(item.kind, item.session)
                if item.resume_token:
                    self._token = item.resume_token

    def _apply(self, kind: WatchNews, session: Session) -> None:
        known = self.seen.pop(session.id, None)
        if known is not None and session.sequence < known.sequence:
            self._verdicts.broken("watch", f"{session.id} went back from {known.sequence} to {session.sequence}")
        if kind is not WatchNews.LEFT:
            self.seen[session.id] = session
