import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from browser_node.domain.errors import InvalidOption
from browser_node.domain.option_rules import check_options, check_start_url
from browser_node.domain.options import BrowserOptions, Geolocation, Viewport


@pytest.mark.parametrize(
    "url",
    [
        "about:blank",
        "https://example.com/",
        "http://example.com:8080/a?b=c#d",
        "https://xn--bcher-kva.example/",
        "http://127.0.0.1:8000/",
        "http://localhost:8000/",
        "http://[::1]:8000/",
        "HTTPS://EXAMPLE.COM",
        "http://sub_domain.example-1.com/%20/ü",
    ],
)
def test_web_addresses_can_be_start_pages(url: str) -> None:
    check_start_url(url)


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "chrome://settings",
        "edge://settings",
        "javascript:alert(1)",
        "view-source:file:///etc/passwd",
        "view-source:https://example.com/",
        "data:text/html," + "x" * 3000,
        "about:config",
        "about:blank#x",
        "",
        "example.com",
        "//example.com/",
        "http:/example.com/",
        "http:example.com",
        "http:///example.com",
        "https://",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:abc/",
        "https://user@example.com/",
        "https://user:password@example.com/",
        "https://exa mple.com/",
        " https://example.com/",
        "https://example.com/\n",
        "java\tscript:alert(1)",
        "https://example.com\\@evil.example/",
        "https:\\\\example.com/",
        "https://bücher.example/",
        "https://ⓔxample.com/",
        "http://localhost./",
        "http://example.com./",
        "http://metadata.google.internal/",
        "http://internal/",
        "http://169.254.169.254/latest/meta-data/",
        "http://0x7f.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://017700000001/",
        "http://127.1/",
        "http://127.0.0.01/",
        "http://0.0.0.0/",
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[fe80::1]/",
        "http://[::]/",
        "http://[::1/",
        "http://[v1.x]/",
        "https://example.com/" + "a" * 2048,
    ],
)
def test_whatever_looks_like_something_else_cannot(url: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        check_start_url(url)
    assert caught.value.reason == "INVALID_REQUEST"
    assert list(caught.value.fields) == ["spec.start_url"]
    assert "password" not in caught.value.message or "user name" in caught.value.message


@given(st.text())
@example("http://[")
@example("http://\x00")
def test_any_text_is_taken_or_refused_as_an_option(url: str) -> None:
    try:
        check_start_url(url)
    except InvalidOption:
        return
    assert url == "about:blank" or url.lower().startswith(("http://", "https://"))


@pytest.mark.parametrize(
    ("options", "option"),
    [
        (BrowserOptions(viewport=Viewport(0, 0)), "viewport"),
        (BrowserOptions(viewport=Viewport(-1, 720)), "viewport"),
        (BrowserOptions(viewport=Viewport(1_000_000, 1_000_000)), "viewport"),
        (BrowserOptions(user_agent="a\r\nX-Evil: 1"), "user_agent"),
        (BrowserOptions(user_agent="a\0"), "user_agent"),
        (BrowserOptions(user_agent="a" * 10_000), "user_agent"),
        (BrowserOptions(geolocation=Geolocation(latitude=91, longitude=0, accuracy_meters=1)), "geolocation"),
        (BrowserOptions(geolocation=Geolocation(latitude=float("nan"), longitude=0, accuracy_meters=1)), "geolocation"),
        (BrowserOptions(headers={"X-A": "b\r\nX-Evil: 1"}), "headers"),
        (BrowserOptions(headers={"X A": "b"}), "headers"),
        (BrowserOptions(headers={"Host": "b"}), "headers"),
        (BrowserOptions(headers={"Proxy-Authorization": "b"}), "headers"),
        (BrowserOptions(headers={"content-length": "5"}), "headers"),
        (BrowserOptions(permissions=("everything",)), "permissions"),
        (BrowserOptions(start_url="file:///etc/passwd"), "start_url"),
    ],
)
def test_a_value_that_no_browser_could_take_is_refused_by_its_name(options: BrowserOptions, option: str) -> None:
    with pytest.raises(InvalidOption) as caught:
        check_options(options)
    assert list(caught.value.fields) == [f"spec.{option}"]
    assert "X-Evil" not in repr(caught.value)


def test_what_browsers_take_passes() -> None:
    check_options(
        BrowserOptions(
            viewport=Viewport(390, 844),
            user_agent="Mozilla/5.0",
            geolocation=Geolocation(latitude=-90, longitude=180, accuracy_meters=0),
            headers={"X-A": "b c", "Authorization": "Bearer x"},
            permissions=("geolocation", "clipboardReadWrite"),
            start_url="https://example.com/",
        )
    )
