"""How many browsers may stand ready beside a node's sessions."""

from typing import Protocol

from browser_node.usecases.ports import Machine

# From this share of the machine's memory on no browser is made ready, from the second on none is kept.
_TIGHT, _FULL = 0.8, 0.9


class Trees(Protocol):
    """Every browser of the node, whosever it is."""

    @property
    def tree_count(self) -> int:
        """How many have not been removed to their last file."""
        ...


class Room:
    """What the slots and the memory leave for browsers that nobody uses. Sessions come first in both."""

    def __init__(self, *, plots: Trees, machine: Machine, slots: int) -> None:
        self._plots = plots
        self._machine = machine
        self._slots = slots

    def beside(self, occupied: int) -> int:
        """Return how many there may be where `occupied` are there already, starting ones included."""
        sessions = max(0, self._plots.tree_count - occupied)
        free = max(0, self._slots - sessions)
        memory = self._machine.pressure.memory if self._machine.pressure is not None else 0.0
        if memory >= _FULL:
            return 0
        return min(free, occupied) if memory >= _TIGHT else free
