"""Machines: each holds one node, which lives, dies and lives again at the same address."""

import random
from collections.abc import Callable

from tests.simulation.browser import BrowserHabits
from tests.simulation.loop import VirtualLoop
from tests.simulation.node_model import FleetDoor, NodeModel, NodeWitness
from tests.simulation.process import Host, Process


class Machine:
    """A machine with a node. `last_trouble` is when anything last kept the node from its work."""

    def __init__(
        self,
        *,
        name: str,
        slots: int,
        loop: VirtualLoop,
        chance: random.Random,
        habits: BrowserHabits,
        witness: NodeWitness,
        door: Callable[["Machine"], FleetDoor],
        on_fault: Callable[[str, BaseException], None],
    ) -> None:
        self.name = name
        self.slots = slots
        self.host = Host(name)
        self.node: NodeModel | None = None
        self.last_trouble = 0.0
        # Seconds that the node spent stopped, in all.
        self.stopped_for = 0.0
        self._loop = loop
        self._chance = chance
        self._habits = habits
        self._witness = witness
        self._door = door(self)
        self._on_fault = on_fault
        # How far the monotonic clock is behind, because the machine stood still; since when it does.
        self._behind = 0.0
        self._frozen_since: float | None = None
        self._crash_time: float | None = None
        self._paused_since: float | None = None

    @property
    def is_well(self) -> bool:
        """Whether a node works here, and is connected."""
        node = self.node
        return node is not None and not node.process.paused and not self.host.mute and not self.host.deaf

    def gone_for(self) -> float:
        """Return for how long no node has been running here, in seconds; 0 while one is."""
        return self._loop.time() - self._crash_time if self._crash_time is not None else 0.0

    def own_time(self) -> float:
        """Return the node's monotonic clock."""
        return (self._loop.time() if self._frozen_since is None else self._frozen_since) - self._behind

    def boot(self) -> None:
        if self.node is not None:
            return
        self.troubled()
        self._crash_time = None
        process = Process(self._loop, self.host, self._on_fault)
        self.node = NodeModel(
            loop=self._loop,
            chance=self._chance,
            process=process,
            slots=self.slots,
            habits=self._habits,
            fleet=self._door,
            witness=self._witness,
            own_time=self.own_time,
        )
        _ = process.spawn(self.node.run())

    def crash(self) -> None:
        """kill -9: the browsers go with their node."""
        self.troubled()
        node, self.node = self.node, None
        if node is not None:
            self._crash_time = self._loop.time()
            self._thaw()
            node.process.die()
            node.browsers.vanish()

    def pause(self, *, freeze: bool) -> None:
        """Stop the node; with `freeze` the whole machine, and its monotonic clock with it."""
        self.troubled()
        if self.node is None or self.node.process.paused:
            return
        self.node.process.pause()
        self._paused_since = self._loop.time()
        if freeze:
            self._frozen_since = self._loop.time()

    def resume(self) -> None:
        if self.node is not None and self.node.process.paused:
            self.troubled()
            self._thaw()
            self.node.process.resume()
            self.node.wake()

    def cut(self, *, mute: bool, deaf: bool) -> None:
        if (mute, deaf) != (self.host.mute, self.host.deaf):
            self.troubled()
        self.host.mute, self.host.deaf = mute, deaf

    def troubled(self) -> None:
        self.last_trouble = self._loop.time()

    def _thaw(self) -> None:
        if self._paused_since is not None:
            self.stopped_for += self._loop.time() - self._paused_since
        if self._frozen_since is not None:
            self._behind += self._loop.time() - self._frozen_since
        self._paused_since = self._frozen_since = None
