"""Reads filter lists in Adblock Plus syntax."""

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from browser_node.adblock.hiding import EXTENDED, HIDING, Hiding
from browser_node.adblock.network_rules import NotConvertible, Rule, SparedHost, network_rule

_HEADER = re.compile(
    r"!\s*(title|homepage|licen[cs]e|version|last modified|copyright|author)\s*:\s*(.+)", re.IGNORECASE
)
_MAX_HEADER = 300


@dataclass(frozen=True, slots=True)
class FilterList:
    """A list as it was read; `name` is what its origin is shown as."""

    name: str
    text: str

    @property
    def attribution(self) -> list[str]:
        """What the list's head says of where it comes from and on what terms."""
        heads = (_HEADER.fullmatch(line.strip()) for line in self.text.splitlines()[:100])
        return [f"{head[1].capitalize()}: {head[2][:_MAX_HEADER]}" for head in heads if head]


@dataclass(slots=True)
class Filters:
    """What lists say, in terms of an extension. `skipped` counts what has no counterpart there, by cause."""

    rules: list[Rule] = field(default_factory=list)
    hiding: Hiding = field(default_factory=Hiding)
    skipped: Counter[str] = field(default_factory=Counter)


def read_filters(lists: Iterable[FilterList]) -> Filters:
    """Convert every filter of the lists. Whatever their text: a line that makes no sense is counted and left out."""
    filters = Filters()
    for filter_list in lists:
        for line in filter_list.text.splitlines():
            text = line.strip()
            if text and not text.startswith(("!", "[")):
                try:
                    _add(filters, text)
                except NotConvertible as cause:
                    filters.skipped[str(cause)] += 1
    return filters


def _add(filters: Filters, text: str) -> None:
    hiding = HIDING.fullmatch(text)
    if hiding is not None:
        filters.hiding.add(hiding["hosts"], hiding["selector"], exception=bool(hiding["exception"]))
        return
    if EXTENDED.search(text):
        raise NotConvertible("extended syntax")
    if text.startswith("#"):
        return  # a comment, in the manner of some lists
    rule = network_rule(text)
    if isinstance(rule, SparedHost):
        filters.hiding.spared.add(rule)
    else:
        filters.rules.append(rule)
