"""What an attach token lets its holder do."""

from dataclasses import dataclass
from enum import StrEnum


class AttachScope(StrEnum):
    """FULL: all that a client may do over CDP. OBSERVE: CDP without changing anything. VIEW: the live view alone.
    CONTROL: the live view and its input, while the control lease is held that the token was made for.
    """

    FULL = "FULL"
    OBSERVE = "OBSERVE"
    VIEW = "VIEW"
    CONTROL = "CONTROL"


@dataclass(frozen=True, slots=True, kw_only=True)
class AttachGrant:
    """A scope; for CONTROL with the generation of the control lease."""

    scope: AttachScope = AttachScope.FULL
    control_generation: int = 0

    @property
    def is_live(self) -> bool:
        """Whether it is for the live view, and not for CDP."""
        return self.scope in {AttachScope.VIEW, AttachScope.CONTROL}

    @property
    def for_viewing(self) -> "AttachGrant":
        """What is left of it at the live view: everybody who may attach may look."""
        return self if self.is_live else AttachGrant(scope=AttachScope.VIEW)
