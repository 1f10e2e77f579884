from browser_node.adapters.chromium.options.receipts import (
    Observation,
    default_receipts,
    in_order,
    page_receipts,
    question,
)
from browser_node.domain.options import (
    BrowserOptions,
    BrowserTier,
    Geolocation,
    Receipt,
    ReceiptState,
    Viewport,
)


def an_observation(
    *,
    user_agent: str = "UA",
    languages: tuple[str, ...] = ("de-DE", "de"),
    locale: str = "de-DE",
    timezone: str = "Europe/Berlin",
    asked_timezone: str = "Europe/Berlin",
    page_size: str = "800x600",
    permissions: dict[str, str] | None = None,
) -> Observation:
    return Observation(
        user_agent=user_agent,
        languages=languages,
        locale=locale,
        timezone=timezone,
        asked_timezone=asked_timezone,
        page_size=page_size,
        permissions=permissions or {},
    )


def the_receipt(options: BrowserOptions, seen: Observation) -> Receipt:
    (receipt,) = page_receipts(options, seen)
    return receipt


def test_what_the_browser_reports_as_asked_is_applied() -> None:
    for options in (
        BrowserOptions(viewport=Viewport(800, 600)),
        BrowserOptions(user_agent="UA"),
        BrowserOptions(locale="de-DE"),
        BrowserOptions(timezone="Europe/Berlin"),
    ):
        assert the_receipt(options, an_observation()).state is ReceiptState.APPLIED


def test_what_it_reports_otherwise_is_different() -> None:
    other = an_observation(
        user_agent="other", languages=("en-US",), locale="en-US", timezone="UTC", page_size="801x600"
    )
    for options, reported in (
        (BrowserOptions(viewport=Viewport(800, 600)), "801x600"),
        (BrowserOptions(user_agent="UA"), "other"),
        (BrowserOptions(locale="de-DE"), "en-US"),
        (BrowserOptions(timezone="Europe/Berlin"), "UTC"),
    ):
        receipt = the_receipt(options, other)
        assert (receipt.state, receipt.reported) == (ReceiptState.DIFFERENT, reported)


def test_a_locale_that_only_half_took_is_different() -> None:
    receipt = the_receipt(BrowserOptions(locale="de-DE"), an_observation(locale="de"))

    assert (receipt.state, receipt.reported) == (ReceiptState.DIFFERENT, "de")
    assert receipt.message


def test_a_zone_under_its_other_name_is_applied() -> None:
    seen = an_observation(timezone="Asia/Calcutta", asked_timezone="Asia/Calcutta")

    receipt = the_receipt(BrowserOptions(timezone="Asia/Kolkata"), seen)

    assert (receipt.state, receipt.reported) == (ReceiptState.APPLIED, "Asia/Calcutta")
    assert receipt.message


def test_permissions_say_what_was_not_granted_and_what_cannot_be_told() -> None:
    asked = BrowserOptions(permissions=("geolocation", "midi", "nfc"))

    denied = the_receipt(asked, an_observation(permissions={"geolocation": "granted", "midi": "denied"}))
    silent = the_receipt(asked, an_observation(permissions={"geolocation": "granted", "midi": "granted"}))

    assert (denied.state, denied.reported) == (ReceiptState.DIFFERENT, "geolocation")
    assert "midi" in denied.message
    assert silent.state is ReceiptState.UNVERIFIED
    assert "nfc" in silent.message


def test_values_of_headers_are_in_no_receipt() -> None:
    options = BrowserOptions(headers={"X-B": "secret", "X-A": "secret"})

    (receipt,) = page_receipts(options, None)

    assert (receipt.requested, receipt.reported, receipt.state) == ("X-A, X-B", "", ReceiptState.UNVERIFIED)
    assert "secret" not in repr(receipt) + question(options)


def test_receipts_have_the_order_of_the_contract() -> None:
    options = BrowserOptions(
        tier=BrowserTier.LEAN,
        geolocation=Geolocation(latitude=1, longitude=2, accuracy_meters=3),
        headers={"X-A": "b"},
        timezone="Europe/Berlin",
    )
    receipts = page_receipts(options, an_observation())
    receipts += default_receipts(options, kind="chrome", product="HeadlessChrome/1", page_size="1280x720")

    assert [receipt.option for receipt in in_order(receipts)] == [
        "browser_type",
        "tier",
        "viewport",
        "timezone",
        "geolocation",
        "headers",
    ]
