"""What became of a session's options: what was asked beside what the browser itself reports."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

from browser_node.adapters.chromium.launch.kinds import PAGE_SIZE
from browser_node.domain.option_rules import PERMISSIONS
from browser_node.domain.options import BrowserOptions, BrowserTier, Receipt, ReceiptState

# Order of the fields of the contract's BrowserSpec.
_ORDER = (
    "browser_type",
    "tier",
    "viewport",
    "user_agent",
    "locale",
    "timezone",
    "geolocation",
    "start_url",
    "headers",
    "permissions",
    "proxy_location",
    "proxy",
    "extensions",
)
_GRANTED = "granted"
_NO_WORD = "The browser has no way to report it."


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """What a blank page of the browser says."""

    user_agent: str
    languages: Sequence[str]
    locale: str
    timezone: str
    # How the browser calls the zone that was asked for.
    asked_timezone: str
    page_size: str
    permissions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: Mapping[str, Any]) -> Self:  # what the question below evaluates to
        return cls(
            user_agent=str(value["userAgent"]),
            languages=[str(language) for language in value["languages"]],
            locale=str(value["locale"]),
            timezone=str(value["timezone"]),
            asked_timezone=str(value["askedTimezone"]),
            page_size=str(value["pageSize"]),
            permissions={str(name): str(state) for name, state in value["permissions"].items()},
        )


def question(options: BrowserOptions) -> str:
    """Return the expression whose value, a promise's, is an Observation."""
    names = {name: PERMISSIONS[name] for name in options.permissions if PERMISSIONS.get(name)}
    return f"""(async () => {{
  const permissions = {{}};
  for (const [option, name] of Object.entries({json.dumps(names)})) {{
    try {{ permissions[option] = (await navigator.permissions.query({{name}})).state }} catch {{ }}
  }}
  const format = Intl.DateTimeFormat().resolvedOptions();
  const asked = Intl.DateTimeFormat('en', {{timeZone: {json.dumps(options.timezone or "UTC")}}}).resolvedOptions();
  return {{
    userAgent: navigator.userAgent, languages: navigator.languages, locale: format.locale, timezone: format.timeZone,
    askedTimezone: asked.timeZone,
    pageSize: `${{innerWidth}}x${{innerHeight}}`, permissions,
  }};
}})()"""


def is_seen_by_pages(options: BrowserOptions) -> bool:
    """Tell whether any option is one that a page can report."""
    return bool(options.viewport or options.user_agent or options.locale or options.timezone or options.permissions)


def in_order(receipts: Sequence[Receipt]) -> tuple[Receipt, ...]:
    return tuple(sorted(receipts, key=lambda receipt: _ORDER.index(receipt.option)))


def default_receipts(options: BrowserOptions, *, kind: str, product: str, page_size: str) -> list[Receipt]:
    """Return those that every session gets."""
    asked_tier = "" if options.tier is BrowserTier.FULL else options.tier.value
    receipts = [
        Receipt(option="browser_type", requested=kind, reported=product, state=ReceiptState.APPLIED),
        Receipt(option="tier", requested=asked_tier, reported=options.tier.value, state=ReceiptState.APPLIED),
    ]
    if options.viewport is None:
        default = f"{PAGE_SIZE[0]}x{PAGE_SIZE[1]}"
        receipts.append(_compared("viewport", "", page_size, same=page_size == default))
    return receipts


def page_receipts(options: BrowserOptions, seen: Observation | None) -> list[Receipt]:
    """Return those of the options that were asked; `seen` is None where none of them can be reported."""
    receipts = []
    if seen is not None:
        if options.viewport is not None:
            asked = f"{options.viewport.width}x{options.viewport.height}"
            receipts.append(_compared("viewport", asked, seen.page_size, same=asked == seen.page_size))
        if options.user_agent:
            same = options.user_agent == seen.user_agent
            receipts.append(_compared("user_agent", options.user_agent, seen.user_agent, same=same))
        if options.locale:
            receipts.append(_locale(options.locale, seen))
        if options.timezone:
            receipts.append(_timezone(options.timezone, seen))
        if options.permissions:
            receipts.append(_permissions(options.permissions, seen.permissions))
    if options.geolocation is not None:
        place = f"{options.geolocation.latitude:g},{options.geolocation.longitude:g}"
        receipts.append(_unverified("geolocation", place, "Pages learn of it only where they have the permission."))
    if options.headers:
        receipts.append(_unverified("headers", ", ".join(sorted(options.headers)), _NO_WORD))
    return receipts


def _compared(option: str, requested: str, reported: str, *, same: bool, message: str = "") -> Receipt:
    state = ReceiptState.APPLIED if same else ReceiptState.DIFFERENT
    return Receipt(option=option, requested=requested, reported=reported, state=state, message=message)


def _unverified(option: str, requested: str, message: str) -> Receipt:
    return Receipt(option=option, requested=requested, reported="", state=ReceiptState.UNVERIFIED, message=message)


def _locale(asked: str, seen: Observation) -> Receipt:
    """Pages learn of it twice: as the preferred language, and as the way of writing dates and numbers."""
    preferred = seen.languages[0] if seen.languages else ""
    if preferred.lower() != asked.lower():
        return _compared("locale", asked, preferred, same=False)
    if seen.locale.lower() == asked.lower():
        return _compared("locale", asked, seen.locale, same=True)
    why = "The browser prefers this language, and writes dates and numbers in the nearest way that it knows."
    return _compared("locale", asked, seen.locale, same=False, message=why)


def _timezone(asked: str, seen: Observation) -> Receipt:
    if seen.timezone != seen.asked_timezone:
        return _compared("timezone", asked, seen.timezone, same=False)
    message = "" if seen.timezone == asked else "The browser's own name of the same zone."
    return _compared("timezone", asked, seen.timezone, same=True, message=message)


def _permissions(asked: Sequence[str], states: Mapping[str, str]) -> Receipt:
    denied = [name for name in asked if states.get(name, _GRANTED) != _GRANTED]
    silent = [name for name in asked if name not in states]
    requested, reported = ", ".join(asked), ", ".join(name for name in asked if states.get(name) == _GRANTED)
    if denied:
        message = f"The browser does not grant {', '.join(denied)}."
        return _compared("permissions", requested, reported, same=False, message=message)
    if silent:
        message = f"A page cannot ask for {', '.join(silent)}."
        return Receipt(
            option="permissions",
            requested=requested,
            reported=reported,
            state=ReceiptState.UNVERIFIED,
            message=message,
        )
    return _compared("permissions", requested, reported, same=True)
