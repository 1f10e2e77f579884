"""What a session asks of its browser, and what its node found out about it."""

from dataclasses import dataclass
from enum import StrEnum


class BrowserType(StrEnum):
    """A kind of browser."""

    CHROME = "CHROME"
    MSEDGE = "MSEDGE"


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserSpec:
    """What a session asks of its browser."""

    browser_type: BrowserType = BrowserType.CHROME


@dataclass(frozen=True, slots=True, kw_only=True)
class BrowserFacts:
    """What a node verified about a browser that it started."""

    product: str
    user_agent: str
    warm: bool
    sandboxed: bool
