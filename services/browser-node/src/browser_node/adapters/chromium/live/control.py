"""Who may type and click in a browser: its CDP clients, or the person who holds the control lease."""

from collections.abc import Callable
from enum import StrEnum


class Actor(StrEnum):
    """Whose input reaches the browser."""

    AGENT = "agent"
    PERSON = "person"


class Control:
    """The node's knowledge of one session's control lease, as the latest news of it say."""

    def __init__(self) -> None:
        self._generation = 0
        self._held = False
        # Told each change.
        self.on_change: Callable[[], None] = lambda: None

    @property
    def generation(self) -> int:
        """The newest lease that was heard of; 0: of none yet."""
        return self._generation

    @property
    def is_held(self) -> bool:
        """Whether a person has control, so that input of CDP clients is refused."""
        return self._held

    @property
    def actor(self) -> Actor:
        return Actor.PERSON if self._held else Actor.AGENT

    def allows(self, generation: int | None) -> bool:
        """Tell whether who was given control with this lease has it still."""
        return self._held and generation == self._generation

    def set(self, generation: int, *, held: bool) -> None:
        """Hear of a lease. News of an older one mean nothing; one that was handed back is never held again."""
        if generation < self._generation or (generation == self._generation and held):
            return
        self._change(generation, held=held)

    def release(self) -> None:
        """Hear that nobody has control."""
        self._change(self._generation, held=False)

    def _change(self, generation: int, *, held: bool) -> None:
        if (generation, held) != (self._generation, self._held):
            self._generation, self._held = generation, held
            self.on_change()
