"""Which allocation holds which slot, and which allocations are history."""

from collections import OrderedDict

from browser_node.domain.browser import SessionId
from browser_node.domain.errors import NodeFull, StaleEpoch

# Sessions whose newest epoch is remembered after they have gone.
_REMEMBERED = 10_000


class Roster:
    """Slots of a node and the newest epoch seen of each session."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._held: dict[SessionId, int] = {}
        self._newest: OrderedDict[SessionId, int] = OrderedDict()

    @property
    def is_full(self) -> bool:
        return len(self._held) >= self._slots

    def take(self, session_id: SessionId, epoch: int) -> None:
        """Take a slot for an allocation.

        Raises StaleEpoch when a newer one was seen, NodeFull when every slot is taken.
        """
        self.check(session_id, epoch)
        if session_id not in self._held and self.is_full:
            raise NodeFull("Every slot of this node is taken.")
        self._held[session_id] = epoch
        self._newest[session_id] = epoch
        self._newest.move_to_end(session_id)
        while len(self._newest) > _REMEMBERED:
            self._newest.popitem(last=False)

    def check(self, session_id: SessionId, epoch: int) -> None:
        """Raise StaleEpoch when a newer allocation of the session was seen."""
        newest = self._newest.get(session_id, 0)
        if epoch < newest:
            raise StaleEpoch("A newer allocation of this session exists.", newest_epoch=str(newest))

    def give_back(self, session_id: SessionId, epoch: int) -> None:
        """Free the slot of an allocation; that of a newer one is left alone."""
        if self._held.get(session_id) == epoch:
            del self._held[session_id]
