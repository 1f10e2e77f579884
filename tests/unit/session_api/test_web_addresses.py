"""Which pages and proxies a caller may name."""

import pytest

from session_api.domain.web_addresses import proxy_url_fault, start_url_fault

_GOOD = [
    "",
    "about:blank",
    "http://example.com",
    "HTTPS://Example.COM:8443/path?x=1#y",
    "https://example.com./",
    "https://xn--bcher-kva.example/",
    "https://example.com/\u00e4/\u4e16?\u754c",
    "http://1.1.1.1/",
    "http://[2606:4700::1111]:8080/",
    "https://a_b.example/",
    "https://example.com/a@b:c",
]
# Whatever the operator allows.
_NEVER = [
    # Other schemes.
    "file:///etc/passwd",
    "chrome://settings",
    "javascript:alert(1)",
    "view-source:file:///etc/passwd",
    "view-source:http://example.com",
    "data:text/html," + "x" * 1000,
    "about:config",
    "about:blank#x",
    "ftp://example.com",
    "devtools://devtools/bundled/inspector.html",
    "example.com",
    "//example.com",
    # No host, or one that browsers read in their own way.
    "http:example.com",
    "http:/example.com",
    "http:///example.com",
    "http://",
    "http://:80/",
    "http://example.com\\@evil.test/",
    "http:\\\\example.com",
    "http://a..b/",
    "http://-a.example/",
    "http://a%2eb/",
    "http://b\u00fccher.example/",
    "http://\uff11\uff12\uff17.0.0.1/",
    "http://127\u30020\u30020\u30021/",
    "http://[::1/",
    "http://" + "a" * 254,
    # Blanks and control characters.
    " http://example.com",
    "http://example.com/a b",
    "http://exa\tmple.com",
    "http://example.com\n",
    "http://example.com/\0",
    # User names and passwords.
    "http://user@example.com",
    "http://user:secret@example.com",
    "http://example.com:80@evil.test",
    # Ports.
    "http://example.com:0/",
    "http://example.com:65536/",
    "http://example.com:/x",
    "http://example.com:80:80/",
    # IP addresses in other notations.
    "http://0x7f.1/",
    "http://2130706433/",
    "http://017700000001/",
    "http://127.1/",
    "http://127.0.0.01/",
    "http://1.2.3.4.5/",
    "http://example.0x7f/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:7f00:1]/",
    "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/",
    "http://[fe80::1%25eth0]/",
    "http://[127.0.0.1]/",
]
_PRIVATE = [
    "http://169.254.169.254/latest/meta-data",
    "http://127.0.0.1:8080/",
    "http://127.0.0.1./",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://192.168.0.1/",
    "http://100.64.0.1/",
    "http://0.0.0.0/",
    "http://224.0.0.1/",
    "http://255.255.255.255/",
    "http://[::1]/",
    "http://[::]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://localhost/",
    "http://LOCALHOST./",
    "http://a.localhost/",
    "http://metadata/",
    "http://metadata.google.internal/",
    "http://printer.local/",
]


@pytest.mark.parametrize("url", _GOOD)
def test_pages_of_the_web_are_in_order(url: str) -> None:
    assert not start_url_fault(url, allow_private=False)


@pytest.mark.parametrize("url", _NEVER)
def test_what_is_no_page_of_the_web_is_refused_whatever_is_allowed(url: str) -> None:
    assert start_url_fault(url, allow_private=False)
    assert start_url_fault(url, allow_private=True)


@pytest.mark.parametrize("url", _PRIVATE)
def test_private_networks_are_refused_unless_they_are_allowed(url: str) -> None:
    assert start_url_fault(url, allow_private=False) == "must not lead into a private network"
    assert not start_url_fault(url, allow_private=True)


@pytest.mark.parametrize("url", ["http://proxy.example:3128", "https://proxy.example:443", "socks5://1.1.1.1:1080"])
def test_proxies_of_the_three_kinds_are_in_order(url: str) -> None:
    assert not proxy_url_fault(url, allow_private=False)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "file:///etc/passwd",
        "socks4://proxy.example:1080",
        "ftp://proxy.example:21",
        "pac+http://proxy.example:80",
        "direct://",
        "proxy.example:3128",
        "http://proxy.example",
        "http://proxy.example:0",
        "http://proxy.example:70000",
        "http://user:secret@proxy.example:3128",
        "http://proxy.example:3128/path",
        "http://proxy.example:3128\n",
        "http://pro\r\nxy.example:3128",
        "http://0x7f.1:3128",
        "http://*:3128",
    ],
)
def test_what_is_no_proxy_is_refused_whatever_is_allowed(url: str) -> None:
    assert proxy_url_fault(url, allow_private=True)


@pytest.mark.parametrize("url", ["socks5://metadata:80", "http://169.254.169.254:80", "http://localhost:3128"])
def test_proxies_in_private_networks_are_refused_unless_they_are_allowed(url: str) -> None:
    assert proxy_url_fault(url, allow_private=False)
    assert not proxy_url_fault(url, allow_private=True)
