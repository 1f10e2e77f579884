"""What nodes can do, and whether one of them can serve a session."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from session_api.domain.browser import BrowserTier, BrowserType, Need
from session_api.domain.errors import NoCapableNode, OptionUnavailable

_FULL_ALONE = frozenset({BrowserTier.FULL})


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a node can do for a session beyond its browsers."""

    tiers: frozenset[BrowserTier] = _FULL_ALONE
    proxy_locations: frozenset[str] = frozenset()
    extensions: frozenset[str] = frozenset()


class Equipped(Protocol):
    """A node, as far as this goes."""

    @property
    def browsers(self) -> dict[BrowserType, str]: ...
    @property
    def capabilities(self) -> Capabilities: ...


def can_serve(node: Equipped, need: Need) -> bool:
    """Whether a node has everything that a session needs: the one rule for placement and for the queue."""
    has = node.capabilities
    return (
        need.browser_type in node.browsers
        and need.tier in has.tiers
        and (not need.proxy_location or need.proxy_location in has.proxy_locations)
        and need.extensions <= has.extensions
    )


def require_servable(nodes: Iterable[Equipped], need: Need) -> None:
    """Raise NoCapableNode or OptionUnavailable when none of these nodes can serve a session, and say for what."""
    found = list(nodes)
    if any(can_serve(node, need) for node in found):
        return
    left = [node for node in found if need.browser_type in node.browsers]
    if not left:
        raise NoCapableNode(
            f"No node of the fleet has the browser {need.browser_type}.", browser_type=need.browser_type
        )
    left = [node for node in left if need.tier in node.capabilities.tiers]
    if not left:
        raise NoCapableNode(
            f"No node of the fleet has the {need.tier.lower()} tier of the browser {need.browser_type}.",
            browser_type=need.browser_type,
            tier=need.tier,
        )
    location = need.proxy_location
    if location:
        left = [node for node in left if location in node.capabilities.proxy_locations]
        if not left:
            raise OptionUnavailable(
                f"No node of the fleet has a proxy in the location {location}.", option="proxy_location", value=location
            )
    for name in sorted(need.extensions):
        if not any(name in node.capabilities.extensions for node in left):
            raise OptionUnavailable(
                f"No node of the fleet that fits has the extension {name}.", option="extensions", value=name
            )
    raise OptionUnavailable(
        "No node of the fleet has all of these extensions.",
        option="extensions",
        value=", ".join(sorted(need.extensions)),
    )
