"""What browsers may connect to, whatever way an address is written."""

from ipaddress import ip_address

import pytest

from browser_node.domain.egress import (
    AddressClass,
    Destination,
    EgressDenied,
    EgressPolicy,
    EgressRule,
    address_of,
    classify,
)

_STRICT = EgressPolicy()


def a_policy(*, allow: str = "", deny: str = "", own_ports: tuple[int, ...] = ()) -> EgressPolicy:
    return EgressPolicy(
        allow=tuple(EgressRule.parse(text) for text in allow.split()),
        deny=tuple(EgressRule.parse(text) for text in deny.split()),
        own_ports=frozenset(own_ports),
    )


def judge(policy: EgressPolicy, authority: str, *answers: str) -> None:
    """What happens before a connection: raises EgressDenied."""
    destination = Destination.parse(authority, default_port=80)
    policy.check_name(destination)
    policy.reachable(destination, [address_of(answer) for answer in answers] or [destination.address or address_of("")])


@pytest.mark.parametrize(
    "host",
    [
        # Loopback and this machine.
        *("127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0.0.0.0", "0", "0.1.2.3", "[::1]", "[::]"),
        *("0x7f.1", "0x7f000001", "0X7F.0.0.1", "2130706433", "017700000001", "0177.0.0.1", "0177.1", "127.0.0.1."),
        *("0x7f.0x0.0x0.0x1", "00000177.0.0.1", "127.0x1", "0x.0x.0x.0x", "[0:0:0:0:0:0:0:1]"),
        *("１２７.0.0.1", "127。0。0。1", "127．0．0．1", "①②⑦.0.0.1"),
        # IPv4 inside IPv6.
        *(
            "[::ffff:127.0.0.1]",
            "[::ffff:7f00:1]",
            "[::127.0.0.1]",
            "[0:0:0:0:0:ffff:a00:1]",
            "[::ffff:169.254.169.254]",
        ),
        *("[64:ff9b::7f00:1]", "[64:ff9b::10.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::a00:1]"),
        *("[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2001:0:1234::80ff:fffe]", "[2001:4860::5efe:a00:1]"),
        "[2001:4860::200:5efe:7f00:1]",
        # Link-local and metadata.
        *("169.254.169.254", "169.254.0.1", "0xa9fea9fe", "2852039166", "0251.0376.0251.0376", "169.254.43518"),
        *("[fe80::1]", "[febf::1]", "[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "169.254.170.2"),
        # Private.
        *("10.0.0.1", "10.255.255.255", "10.1", "012.0.0.1", "0xa.1.2.3", "167772161", "172.16.0.1", "172.31.255.255"),
        *("192.168.0.1", "192.168.257", "100.64.0.1", "100.127.255.254", "[fc00::1]", "[fdff::1]", "[fec0::1]"),
        # Not for anybody.
        *("192.0.0.1", "192.0.0.170", "192.0.2.1", "198.51.100.7", "203.0.113.9", "192.88.99.1", "198.18.0.1"),
        *("198.19.255.255", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255", "4294967295"),
        *("[ff02::1]", "[ff0e::1]", "[2001:db8::1]", "[100::1]", "[3fff::1]", "[2001:10::1]", "[2001:20::1]"),
        *("[4000::1]", "[5f00::1]", "[200::1]"),
    ],
)
def test_addresses_that_are_not_public_are_refused_however_they_are_written(host: str) -> None:
    with pytest.raises(EgressDenied, match=r"^This is a \S.* address\.$"):
        judge(_STRICT, f"{host}:80")


@pytest.mark.parametrize(
    "host",
    [
        *("1.2.3.4.5", "256.0.0.1", "0x100.0.0.1", "08.0.0.1", "0x1ffffffff", "4294967296"),
        *("host.0x7f", "a.1", "1.2.3.a.4", "[::1", "::1", "[fe80::1%25lo]", "[1.2.3.4]", "[]", "", ".", "a..b"),
        *("a b", "a%2eb", "127.0.0.1%00", "ex\tample", "exa/mple", "user@host", "host\\x", "-a.example"),
        *("a" * 64, ".".join(["a" * 60] * 5), "9" * 40, "☃" * 70, "host:1:2"),
    ],
)
def test_what_is_no_host_is_refused(host: str) -> None:
    with pytest.raises(EgressDenied):
        Destination.parse(f"{host}:80")


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "+80", "0x50", "８０", ""])
def test_what_is_no_port_is_refused(port: str) -> None:
    with pytest.raises(EgressDenied):
        Destination.parse(f"example.com:{port}")


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("EXAMPLE.com", "example.com"),
        ("example.com.", "example.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("ＥＸＡＭＰＬＥ.com", "example.com"),
        ("a_b.example", "a_b.example"),
        ("\u200bexample.com", "example.com"),
        ("1e100.example", "1e100.example"),
    ],
)
def test_names_have_one_form(written: str, host: str) -> None:
    assert Destination.parse(f"{written}:443").host == host


@pytest.mark.parametrize(
    "address",
    [
        *("1.1.1.1", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "126.255.255.255", "128.0.0.1"),
        *("169.253.255.255", "169.255.0.1", "172.15.255.255", "172.32.0.1", "192.167.255.255", "192.169.0.1"),
        *("198.17.255.255", "198.20.0.1", "223.255.255.255", "2606:4700::1111", "2a00:1450::1", "64:ff9b::101:101"),
    ],
)
def test_public_addresses_are_open(address: str) -> None:
    assert classify(ip_address(address)) is AddressClass.PUBLIC
    judge(_STRICT, "example.com:443", address)


def test_a_public_address_is_dialled_as_what_it_is() -> None:
    destination = Destination.parse("example.com:443")

    assert _STRICT.reachable(destination, [ip_address("::ffff:1.1.1.1")]) == (ip_address("1.1.1.1"),)


@pytest.mark.parametrize(
    "answer", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fe80::1%eth0", "::ffff:10.0.0.1"]
)
def test_a_name_is_judged_by_its_answers(answer: str) -> None:
    with pytest.raises(EgressDenied, match=r"^This name leads to a") as caught:
        judge(_STRICT, "innocent.example:80", answer)

    assert answer not in str(caught.value)


def test_of_several_answers_only_those_that_may_be_dialled_are_left() -> None:
    destination = Destination.parse("mixed.example:443")
    answers = [ip_address(text) for text in ("10.0.0.1", "1.1.1.1", "::1", "1.0.0.1")]

    assert _STRICT.reachable(destination, answers) == (ip_address("1.1.1.1"), ip_address("1.0.0.1"))


def test_no_answer_is_no_way() -> None:
    with pytest.raises(EgressDenied):
        _STRICT.reachable(Destination.parse("empty.example:443"), [])


@pytest.mark.parametrize("port", [22, 25, 53, 6667, 10080])
def test_ports_that_are_not_for_pages_are_refused(port: int) -> None:
    with pytest.raises(EgressDenied, match="not one for web pages"):
        judge(_STRICT, f"example.com:{port}", "1.1.1.1")
    judge(a_policy(allow=f"example.com:{port}"), f"example.com:{port}", "1.1.1.1")


@pytest.mark.parametrize(
    ("rule", "authority", "answers"),
    [
        ("127.0.0.0/8", "127.0.0.1:8080", ()),
        ("127.0.0.0/8", "localhost.:8080", ("127.0.0.1",)),
        ("127.0.0.1", "0x7f.1:8080", ()),
        ("127.0.0.1:8080", "127.0.0.1:8080", ()),
        ("::1", "[::1]:8080", ()),
        ("[::1]:8080", "localhost:8080", ("::1",)),
        ("127.0.0.0/8", "[::ffff:127.0.0.1]:8080", ()),
        ("10.0.0.0/8", "wiki.example:443", ("10.1.2.3",)),
        ("[fd00::/8]:443", "wiki.example:443", ("fd00::1",)),
        ("wiki.example", "WIKI.example.:443", ("10.1.2.3",)),
        ("*.corp.example", "a.b.corp.example:443", ("192.168.0.1",)),
        ("bücher.example", "xn--bcher-kva.example:443", ("10.1.2.3",)),
        ("169.254.169.254", "169.254.169.254:80", ()),
    ],
)
def test_the_operator_opens_hosts_and_ranges(rule: str, authority: str, answers: tuple[str, ...]) -> None:
    with pytest.raises(EgressDenied):
        judge(_STRICT, authority, *answers)

    judge(a_policy(allow=rule), authority, *answers)


@pytest.mark.parametrize(
    ("rule", "authority", "answers"),
    [
        ("127.0.0.1:8080", "127.0.0.1:8081", ()),
        ("127.0.0.1", "127.0.0.2:80", ()),
        ("*.corp.example", "corp.example:443", ("10.1.2.3",)),
        ("*.corp.example", "evilcorp.example:443", ("10.1.2.3",)),
        ("corp.example", "a.corp.example:443", ("10.1.2.3",)),
        ("10.0.0.0/8", "wiki.example:443", ("192.168.0.1",)),
        # A name of the operator's that somebody points at the metadata service.
        ("*.corp.example", "x.corp.example:80", ("169.254.169.254",)),
        ("*.corp.example", "x.corp.example:80", ("fd00:ec2::254",)),
    ],
)
def test_a_rule_opens_no_more_than_it_says(rule: str, authority: str, answers: tuple[str, ...]) -> None:
    with pytest.raises(EgressDenied):
        judge(a_policy(allow=rule), authority, *answers)


@pytest.mark.parametrize(
    ("rule", "authority", "answers"),
    [
        ("evil.example", "EVIL.example.:443", ("1.1.1.1",)),
        ("*.evil.example", "a.evil.example:443", ("1.1.1.1",)),
        ("1.1.1.0/24", "innocent.example:443", ("1.1.1.1",)),
        ("1.1.1.0/24", "[::ffff:1.1.1.1]:443", ()),
        ("1.1.1.1", "0x1010101:443", ()),
        ("10.1.0.0/16", "10.1.2.3:443", ()),
        ("2606:4700::/32", "[2606:4700::1]:443", ()),
    ],
)
def test_what_is_denied_is_not_opened_by_the_allow_list(rule: str, authority: str, answers: tuple[str, ...]) -> None:
    policy = a_policy(allow="0.0.0.0/0 ::/0 evil.example *.evil.example innocent.example", deny=rule)

    with pytest.raises(EgressDenied, match="The operator does not allow"):
        judge(policy, authority, *answers)


def test_the_fleets_own_ports_are_opened_by_nothing() -> None:
    policy = a_policy(allow="127.0.0.0/8 127.0.0.1:5432 10.0.0.0/8 db.example db.example:5432", own_ports=(5432,))

    for authority, answers in (
        ("127.0.0.1:5432", ()),
        ("0x7f.1:5432", ()),
        ("10.0.0.1:5432", ()),
        ("db.example:5432", ("10.0.0.1",)),
    ):
        with pytest.raises(EgressDenied, match="belongs to the fleet"):
            judge(policy, authority, *answers)
    judge(policy, "127.0.0.1:5433")
    judge(policy, "example.com:5432", "1.1.1.1")


@pytest.mark.parametrize(
    "name", ["localhost", "a.localhost", "db", "printer.local", "metadata.google.internal", "x.lan"]
)
def test_local_names_are_not_left_to_an_upstream(name: str) -> None:
    with pytest.raises(EgressDenied, match="local network"):
        _STRICT.check_remote_name(Destination.parse(f"{name}:80"))
    a_policy(allow=name).check_remote_name(Destination.parse(f"{name}:80"))


def test_addresses_are_judged_before_an_upstream_gets_them() -> None:
    with pytest.raises(EgressDenied):
        _STRICT.check_remote_name(Destination.parse("169.254.169.254:80"))
    _STRICT.check_remote_name(Destination.parse("example.com:443"))


@pytest.mark.parametrize(
    "text", ["", "*", "*.", "*.1.2.3.4", "10.0.0.1/8", "host:0", "host:65536", "a b", "10.0.0.0/33", "http://x", "[::1"]
)
def test_wrong_rules_are_refused(text: str) -> None:
    with pytest.raises(ValueError):
        EgressRule.parse(text)
