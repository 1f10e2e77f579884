"""What a session asks of its browser, and what was found out about it, as JSON and back."""

import functools
import json
from typing import TypedDict

from session_api.domain.browser import (
    BrowserFacts,
    BrowserSpec,
    BrowserTier,
    BrowserType,
    CustomProxy,
    Geolocation,
    Need,
    Receipt,
    ReceiptState,
    Viewport,
)

_SHORT_FACTS = 500


class _ViewportRow(TypedDict):
    width: int
    height: int


class _GeolocationRow(TypedDict):
    latitude: float
    longitude: float
    accuracy_meters: float


class _ProxyRow(TypedDict):
    url: str
    username: str


class _SpecRow(TypedDict, total=False):
    """What is not asked for is left out: rows of earlier versions look the same."""

    browser_type: str
    tier: str
    viewport: _ViewportRow
    user_agent: str
    locale: str
    timezone: str
    geolocation: _GeolocationRow
    start_url: str
    headers: list[str]
    permissions: list[str]
    proxy_location: str
    proxy: _ProxyRow
    extensions: list[str]


class _FactsRow(TypedDict, total=False):
    product: str
    user_agent: str
    warm: bool
    sandboxed: bool
    start_message: str
    # Option, what was requested, what is reported, state, message.
    receipts: list[tuple[str, str, str, str, str]]


def spec_row(spec: BrowserSpec) -> str:
    return json.dumps({"browser_type": spec.browser_type, **spec.wishes})


# Lists read many rows, and most of them say the same.
@functools.lru_cache(maxsize=1024)
def spec_of(text: str) -> BrowserSpec:
    row: _SpecRow = json.loads(text)
    if len(row) == 1:
        return BrowserSpec(browser_type=BrowserType(row["browser_type"]))
    return BrowserSpec(
        browser_type=BrowserType(row["browser_type"]),
        tier=BrowserTier(row.get("tier", BrowserTier.FULL)),
        viewport=Viewport(**row["viewport"]) if "viewport" in row else None,
        user_agent=row.get("user_agent", ""),
        locale=row.get("locale", ""),
        timezone=row.get("timezone", ""),
        geolocation=Geolocation(**row["geolocation"]) if "geolocation" in row else None,
        start_url=row.get("start_url", ""),
        headers=tuple(row.get("headers", ())),
        permissions=tuple(row.get("permissions", ())),
        proxy_location=row.get("proxy_location", ""),
        proxy=CustomProxy(**row["proxy"]) if "proxy" in row else None,
        extensions=tuple(row.get("extensions", ())),
    )


@functools.lru_cache(maxsize=1024)
def need_of(spec_text: str) -> Need:
    """Return what of a spec not every node can serve. A long queue is read as a whole, and most of it asks the same."""
    return spec_of(spec_text).need


def facts_row(facts: BrowserFacts | None) -> str | None:
    if facts is None:
        return None
    row = _FactsRow(
        product=facts.product,
        user_agent=facts.user_agent,
        warm=facts.warm,
        sandboxed=facts.sandboxed,
    )
    if facts.start_message:
        row["start_message"] = facts.start_message
    if facts.receipts:
        row["receipts"] = [
            (receipt.option, receipt.requested, receipt.reported, receipt.state.value, receipt.message)
            for receipt in facts.receipts
        ]
    return json.dumps(row)


def facts_of(text: str | None) -> BrowserFacts | None:
    if text is None:
        return None
    # Those with receipts are long, and nearly each is another.
    return _facts_of(text) if len(text) > _SHORT_FACTS else _short_facts_of(text)


def _facts_of(text: str) -> BrowserFacts:
    row: _FactsRow = json.loads(text)
    return BrowserFacts(
        product=row["product"],
        user_agent=row["user_agent"],
        warm=row["warm"],
        sandboxed=row["sandboxed"],
        start_message=row.get("start_message", ""),
        receipts=tuple(
            Receipt(option=option, requested=requested, reported=reported, state=ReceiptState(state), message=message)
            for option, requested, reported, state, message in row.get("receipts", ())
        ),
    )


_short_facts_of = functools.lru_cache(maxsize=1024)(_facts_of)
