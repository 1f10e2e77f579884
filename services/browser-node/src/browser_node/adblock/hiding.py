"""Filters that hide elements of pages, as selectors with the hosts that they are about."""

import re
from collections import defaultdict
from dataclasses import dataclass, field

from browser_node.adblock.network_rules import NotConvertible, SparedHost, host_name

HIDING = re.compile(r"(?P<hosts>[^#]*)#(?P<exception>@?)#(?P<selector>.+)")
# Extended syntaxes that no style sheet has: procedural filters, snippets, scriptlets, injected styles.
EXTENDED = re.compile(r"#@?[$?%]+#|\$\$|\$@\$")
_PROCEDURAL = re.compile(
    r":(-abp-|has-text|contains|xpath|matches-|nth-ancestor|upward|remove|style|min-text|watch-attr|others|if|shadow)"
)
_PAIRS = {")": "(", "]": "["}


def selector_of(text: str) -> str:
    """Return a selector that can stand in a style sheet without reaching beyond its own rule. Raises NotConvertible."""
    selector = text.strip()
    if selector.startswith(("+js", "^", "@")) or _PROCEDURAL.search(selector):
        raise NotConvertible("procedural")
    if not selector or not selector.isprintable() or selector.endswith("\\") or not _closed(selector):
        raise NotConvertible("selector")
    return selector


def _closed(selector: str) -> bool:
    """Tell whether every bracket and quotation ends, and nothing else begins: a style sheet reads on until it does."""
    opened: list[str] = []
    quote = ""
    characters = iter(selector)
    previous = ""
    for character in characters:
        if character == "\\":
            next(characters, None)
        elif quote:
            quote = "" if character == quote else quote
        elif character in "\"'":
            quote = character
        elif character in "([":
            opened.append(character)
        elif character in _PAIRS:
            if not opened or opened.pop() != _PAIRS[character]:
                return False
        elif character in "{};<@" or (character == "*" and previous == "/"):
            return False
        previous = character
    return not opened and not quote


@dataclass(slots=True)
class Hiding:
    """What is hidden where. `add` and `spare` take filters in any order; the rest is read afterwards."""

    _anywhere: dict[str, None] = field(default_factory=dict)
    _nowhere: set[str] = field(default_factory=set)
    # By host.
    hidden: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    kept: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    spared: set[SparedHost] = field(default_factory=set)

    def add(self, hosts: str, selector_text: str, *, exception: bool) -> None:
        """Take one filter. Raises NotConvertible."""
        selector = selector_of(selector_text)
        names = [name.strip() for name in hosts.split(",") if name.strip()]
        on = [host_name(name) for name in names if not name.startswith("~")]
        off = [host_name(name[1:]) for name in names if name.startswith("~")]
        if exception:
            if off:
                raise NotConvertible("exception of an exception")
            for name in on:
                self.kept[name].add(selector)
            if not on:
                self._nowhere.add(selector)
            return
        for name in on:
            self.hidden[name].add(selector)
        if not on:
            self._anywhere[selector] = None
        for name in off:
            self.kept[name].add(selector)

    @property
    def unconditional(self) -> list[str]:
        """Selectors that hide on every page."""
        exceptions = set().union(*self.kept.values()) if self.kept else set()
        return [selector for selector in self._anywhere if selector not in self._nowhere | exceptions]

    @property
    def nearly_everywhere(self) -> list[str]:
        """Selectors that hide on every page but those of some hosts in `kept`."""
        unconditional = set(self.unconditional)
        return [selector for selector in self._anywhere if selector not in self._nowhere | unconditional]
