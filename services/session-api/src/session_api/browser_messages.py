"""What a session asks of its browser, and what its node found out about it, as messages."""

from collections.abc import Iterable

from browserfleet.browser.v1 import browser_pb2
from session_api.domain.browser import BrowserFacts, BrowserSpec, BrowserTier, Receipt, ReceiptState, SpecSecrets

# A node is believed no more than this.
_MOST_RECEIPTS = 64
_LONGEST_TEXT = 5000
_NO_SECRETS = SpecSecrets()


def spec_message(spec: BrowserSpec, secrets: SpecSecrets = _NO_SECRETS) -> browser_pb2.BrowserSpec:
    """Return a spec: without secrets headers have no values and a proxy no password."""
    message = browser_pb2.BrowserSpec(
        browser_type=browser_pb2.BrowserType.Value(f"BROWSER_TYPE_{spec.browser_type}"),
        user_agent=spec.user_agent,
        locale=spec.locale,
        timezone=spec.timezone,
        start_url=spec.start_url,
        headers={name: secrets.headers.get(name, "") for name in spec.headers},
        permissions=spec.permissions,
        proxy_location=spec.proxy_location,
        extensions=spec.extensions,
    )
    if spec.tier is not BrowserTier.FULL:
        message.tier = browser_pb2.BrowserTier.Value(f"BROWSER_TIER_{spec.tier}")
    if spec.viewport is not None:
        message.viewport.width, message.viewport.height = spec.viewport.width, spec.viewport.height
    if spec.geolocation is not None:
        message.geolocation.latitude = spec.geolocation.latitude
        message.geolocation.longitude = spec.geolocation.longitude
        message.geolocation.accuracy_meters = spec.geolocation.accuracy_meters
    if spec.proxy is not None:
        message.proxy.url, message.proxy.username = spec.proxy.url, spec.proxy.username
        message.proxy.password = secrets.proxy_password
    return message


def facts_of(browser: browser_pb2.Browser) -> BrowserFacts:
    """Return what a node says of a browser, cut where it says too much."""
    return BrowserFacts(
        product=_text(browser.product),
        user_agent=_text(browser.user_agent),
        warm=browser.start_mode == browser_pb2.START_MODE_WARM,
        sandboxed=browser.sandboxed,
        start_message=_text(browser.start_mode_message),
        receipts=tuple(_receipt_of(receipt) for receipt in browser.receipts[:_MOST_RECEIPTS]),
    )


def receipt_messages(receipts: Iterable[Receipt]) -> list[browser_pb2.Receipt]:
    return [
        browser_pb2.Receipt(
            option=receipt.option,
            requested=receipt.requested,
            reported=receipt.reported,
            state=browser_pb2.Receipt.State.Value(f"STATE_{receipt.state}"),
            message=receipt.message,
        )
        for receipt in receipts
    ]


def _receipt_of(receipt: browser_pb2.Receipt) -> Receipt:
    # A newer node may know states that this version does not.
    known = browser_pb2.Receipt.State.DESCRIPTOR.values_by_number.get(receipt.state)
    return Receipt(
        option=_text(receipt.option),
        requested=_text(receipt.requested),
        reported=_text(receipt.reported),
        state=ReceiptState(known.name.removeprefix("STATE_")) if known else ReceiptState.UNSPECIFIED,
        message=_text(receipt.message),
    )


def _text(text: str) -> str:
    """Return a node's text as the database takes it."""
    return text.replace("\0", "")[:_LONGEST_TEXT]
