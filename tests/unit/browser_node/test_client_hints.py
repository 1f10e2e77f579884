import pytest
from hypothesis import given
from hypothesis import strategies as st

from browser_node.adapters.chromium.options.client_hints import client_hints

WINDOWS = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.7390.54 Safari/537.36"
PIXEL = "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Mobile Safari/537.36"
MAC_EDGE = (
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 "
    "Safari/537.36 Edg/141.0.3537.57"
)


def brands(user_agent: str) -> list[str]:
    hints = client_hints(user_agent)
    assert hints is not None
    listed = hints["fullVersionList"]
    assert isinstance(listed, list)
    return [f"{entry['brand']} {entry['version']}" for entry in listed]


def test_hints_name_the_browser_and_its_engine() -> None:
    assert "Chromium 141.0.7390.54" in brands(WINDOWS)
    assert "Google Chrome 141.0.7390.54" in brands(WINDOWS)
    assert "Microsoft Edge 141.0.3537.57" in brands(MAC_EDGE)


@pytest.mark.parametrize(
    ("user_agent", "platform", "version", "model", "mobile"),
    [
        (WINDOWS, "Windows", "10.0.0", "", False),
        (PIXEL, "Android", "14", "Pixel 8", True),
        (MAC_EDGE, "macOS", "10.15.7", "", False),
        ("Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/156.0.0.0", "Linux", "", "", False),
        ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) Chrome/141.0.0.0", "Chrome OS", "", "", False),
    ],
)
def test_hints_agree_with_the_user_agent(
    user_agent: str, platform: str, version: str, model: str, mobile: bool
) -> None:
    hints = client_hints(user_agent)
    assert hints is not None
    assert (hints["platform"], hints["platformVersion"], hints["model"], hints["mobile"]) == (
        platform,
        version,
        model,
        mobile,
    )


@pytest.mark.parametrize(
    "user_agent",
    [
        "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.0 Safari/605.1.15",
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 CriOS/141.0.0.0 Mobile Safari/604.1",
        "curl/8.5.0",
        "",
    ],
)
def test_browsers_of_other_engines_have_none(user_agent: str) -> None:
    assert client_hints(user_agent) is None


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=200))
def test_any_user_agent_has_hints_or_none(text: str) -> None:
    hints = client_hints(f"{text} Chrome/1.2")
    assert hints is None or len(brands(f"{text} Chrome/1.2")) == 3
