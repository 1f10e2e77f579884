"""Waves of sessions on a node that is a process of its own."""

import asyncio
import itertools
import random
import time
from dataclasses import dataclass, field

from browserfleet.node.v1 import browser_service_pb2
from fleetkit.rpc.client import bearer
from tests.support.fake_fleet import NodeProcess
from tests.support.leftovers import Leftovers, descendants, harm

_numbers = itertools.count(1)


@dataclass
class Waves:
    """Sessions come and go, as many at once as the node has slots; half of them do not go by themselves."""

    node: NodeProcess
    chance: random.Random
    harms: list[str] = field(default_factory=list)
    # How long callers waited for the end of each.
    release_seconds: list[float] = field(default_factory=list)

    def leftovers(self) -> Leftovers:
        return Leftovers.now(
            node=self.node.pid, state_dir=self.node.state_dir, scratch=self.node.state_dir.parent / "b"
        )

    async def settled(self, before: Leftovers | None = None) -> Leftovers:
        """Wait until nothing of a browser is left; return what else there is. Fails the test when something stays."""

        deadline = time.monotonic() + 40
        while True:
            now = await asyncio.to_thread(self.leftovers)
            bare = (now.processes, now.zombies, now.folders, now.groups) == (0, 0, 0, 0)
            # Descriptors may come and go with the fleet's connections; more of them may not stay.
            if bare and (before is None or (now.mounts == before.mounts and now.descriptors <= before.descriptors + 2)):
                return now
            if time.monotonic() > deadline:
                raise AssertionError(f"after {self.harms}: {now}, before {before}")
            await asyncio.sleep(0.1)

    async def run(self, *, sessions: int, at_once: int = 2) -> None:
        """Let so many sessions begin and end."""
        for _ in range(0, sessions, at_once):
            known = set(await asyncio.to_thread(descendants, self.node.pid))
            names = [f"pbs_{next(_numbers):026}" for _ in range(at_once)]
            await asyncio.gather(*(self.node.start_browser(session_id=name) for name in names))
            mains = await asyncio.to_thread(self.node.browser_pids, besides=known)
            self.harms.append(await asyncio.to_thread(harm, self.chance.choice(mains), self.chance))
            await asyncio.gather(*(self._stop(name) for name in names))

    async def _stop(self, name: str) -> None:
        async with self.node.calls() as calls:
            request = browser_service_pb2.StopBrowserRequest(session_id=name, epoch=1)
            metadata = bearer(self.node.token())
            await calls.StopBrowser(
                browser_service_pb2.StopBrowserRequest(session_id="pbs_" + "z" * 26, epoch=1), metadata=metadata
            )
            started = time.perf_counter()
            await calls.StopBrowser(request, metadata=metadata, timeout=30)
            self.release_seconds.append(time.perf_counter() - started)
