"""Waves of sessions on a node that is a process of its own."""

import asyncio
import itertools
import random
from dataclasses import dataclass, field

import grpc

from browserfleet.node.v1 import browser_service_pb2
from fleetkit.rpc.client import bearer
from tests.support.fake_fleet import NodeProcess
from tests.support.leftovers import Leftovers, descendants, harm
from tests.support.waiting import eventually

_numbers = itertools.count(1)


@dataclass
class Waves:
    """Sessions come and go, as many at once as the node has slots; half of them do not go by themselves."""

    node: NodeProcess
    chance: random.Random
    harms: list[str] = field(default_factory=list)
    ended_well: int = 0

    def leftovers(self) -> Leftovers:
        return Leftovers.now(node=self.node.pid, scratch=self.node.state_dir.parent / "b")

    async def settled(self, before: Leftovers) -> Leftovers:
        """Wait until no process and no folder of a browser is left; return what else there is."""

        async def check() -> Leftovers | None:
            now = await asyncio.to_thread(self.leftovers)
            bare = (now.processes, now.zombies, now.folders, now.groups) == (0, 0, 0, 0)
            return now if bare and now.descriptors <= before.descriptors + 2 else None

        return await eventually(check, within=40, what="nothing is left of the browsers")

    async def run(self, *, sessions: int, at_once: int = 2) -> None:
        """Let so many sessions begin and end."""
        for _ in range(0, sessions, at_once):
            known = set(await asyncio.to_thread(descendants, self.node.pid))
            names = [f"pbs_{next(_numbers):026}" for _ in range(at_once)]
            await asyncio.gather(*(self.node.start_browser(session_id=name) for name in names))
            mains = await asyncio.to_thread(self._leaders, known)
            self.harms.append(await asyncio.to_thread(harm, self.chance.choice(mains), self.chance))
            await asyncio.gather(*(self._stop(name) for name in names))
            self.ended_well += at_once - 1

    def _leaders(self, known: set[int]) -> list[int]:
        return self.node.browser_pids(besides=known)

    async def _stop(self, name: str) -> None:
        async with self.node.calls() as calls:
            try:
                await calls.StopBrowser(
                    browser_service_pb2.StopBrowserRequest(session_id=name, epoch=1),
                    metadata=bearer(self.node.token()),
                    timeout=30,
                )
            except grpc.aio.AioRpcError as error:
                raise AssertionError(error.details()) from error
