"""A browser that a node can start."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from browser_node.adapters.chromium.launch.kinds import ROWS, KindRow, Model, arguments
from browser_node.adapters.chromium.launch.template import ProfileTemplate
from browser_node.domain.browser import BrowserKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A browser that was found and started once.

    `languages` and `timezones` are those that the browser itself knows; empty where it was not asked. Without a
    `template` each of its browsers makes a profile of its own.
    """

    path: Path
    product: str
    sandboxed: bool
    model: Model = field(default=Model(BrowserKind.CHROME))
    languages: frozenset[str] = frozenset()
    timezones: frozenset[str] = frozenset()
    template: ProfileTemplate | None = None

    @property
    def row(self) -> KindRow:
        return ROWS[self.model]

    def command(self, profile: Path, flags: Sequence[str]) -> list[str]:
        """Return the command line of one browser."""
        return arguments(self.path, profile, sandboxed=self.sandboxed, model=self.model, extra=flags)
