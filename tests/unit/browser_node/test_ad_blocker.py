"""Filter lists become an extension that a browser takes, whatever they say."""

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from browser_node.adapters.chromium.extensions.manifest import check_extension
from browser_node.adblock.__main__ import main
from browser_node.adblock.extension import starter_list, write_extension
from browser_node.adblock.filter_lists import FilterList, read_filters
from browser_node.adblock.hiding import selector_of
from browser_node.adblock.network_rules import Condition, NotConvertible, merged, network_rule

_TYPES = {
    "main_frame", "sub_frame", "stylesheet", "script", "image", "font", "object", "xmlhttprequest", "ping", "media",
    "websocket", "other",
}  # fmt: skip
_HOSTS = ("requestDomains", "initiatorDomains", "excludedInitiatorDomains")


def rule_of(text: str) -> tuple[int, str, Condition]:
    rule = network_rule(text)
    assert isinstance(rule, dict)
    return rule["priority"], rule["action"]["type"], rule["condition"]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("||ads.example^", (1, "block", {"urlFilter": "||ads.example^"})),
        ("/banner/*/ad_", (1, "block", {"urlFilter": "/banner/*/ad_"})),
        ("*/ads/*", (1, "block", {"urlFilter": "/ads/"})),
        ("||*ads.example/x*", (1, "block", {"urlFilter": "ads.example/x"})),
        ("@@||ads.example/ok.js", (2, "allow", {"urlFilter": "||ads.example/ok.js"})),
        (
            "||ads.example^$script,third-party,domain=news.example|~my.news.example",
            (
                1,
                "block",
                {
                    "urlFilter": "||ads.example^",
                    "domainType": "thirdParty",
                    "resourceTypes": ["script"],
                    "initiatorDomains": ["news.example"],
                    "excludedInitiatorDomains": ["my.news.example"],
                },
            ),
        ),
        ("/x$~image", (1, "block", {"urlFilter": "/x", "excludedResourceTypes": ["image", "main_frame"]})),
        ("/X$match-case,important", (3, "block", {"urlFilter": "/X", "isUrlFilterCaseSensitive": True})),
        (
            "@@||good.example^$document",
            (2, "allowAllRequests", {"urlFilter": "||good.example^", "resourceTypes": ["main_frame"]}),
        ),
        (
            "$script,domain=bücher.example",
            (1, "block", {"resourceTypes": ["script"], "initiatorDomains": ["xn--bcher-kva.example"]}),
        ),
    ],
)
def test_a_network_filter_becomes_a_rule(text: str, rule: tuple[int, str, Condition]) -> None:
    assert rule_of(text) == rule


@pytest.mark.parametrize(
    "text",
    [
        "/ads[0-9]+/",
        "||ads.example^$popup",
        "||ads.example^$csp=x",
        "/x$domain=news.*",
        "/x$image,~image",
        "*",
        "||",
        "||*",
        "$script",
        "||ünicode.example^",
        "0.0.0.0 ads.example",
    ],
)
def test_what_has_no_counterpart_is_left_out(text: str) -> None:
    with pytest.raises(NotConvertible):
        network_rule(text)


def test_hosts_are_put_together_into_few_rules() -> None:
    rules = [network_rule(f"||ad{number}.example^") for number in range(12_000)]
    rules += [network_rule("||cdn.example^$script"), network_rule("/ad.js"), network_rule("/ad.js")]
    result = merged([rule for rule in rules if isinstance(rule, dict)])
    assert [rule["id"] for rule in result] == [1, 2, 3, 4, 5]
    assert sorted(len(rule["condition"].get("requestDomains", [])) for rule in result) == [0, 1, 2000, 5000, 5000]


@pytest.mark.parametrize(
    "selector",
    [
        "a{}body",
        ".x:has-text(Ad)",
        ".x:upward(2)",
        '[href="x',
        ".x[href",
        ".x:not(.y",
        ".x)",
        "/*",
        "@import 'x'",
        ".x\\",
        ".x, .y;",
        ".x<",
        "+js(noop)",
        "^script",
    ],
)
def test_a_selector_does_not_reach_beyond_its_own_rule(selector: str) -> None:
    with pytest.raises(NotConvertible):
        selector_of(selector)
    assert selector_of('.x:not([style="a:b;{"])') == '.x:not([style="a:b;{"])'


def test_exceptions_of_hosts_hold() -> None:
    text = "\n".join(
        [
            "##.ad",
            "##.banner",
            "##.gone",
            "#@#.gone",
            "shop.example#@#.banner",
            "news.example,~my.news.example##.teaser",
            "~plain.example##.promo",
            "@@||quiet.example^$generichide",
            "@@||silent.example^$elemhide",
        ]
    )
    hiding = read_filters([FilterList("x", text)]).hiding
    assert hiding.unconditional == [".ad"]
    assert hiding.nearly_everywhere == [".banner", ".promo"]
    assert hiding.hidden == {"news.example": {".teaser"}}
    assert hiding.kept == {
        "shop.example": {".banner"},
        "my.news.example": {".teaser"},
        "plain.example": {".promo"},
    }
    assert {(spared.host, spared.entirely) for spared in hiding.spared} == {
        ("quiet.example", False),
        ("silent.example", True),
    }


def test_the_starter_list_is_converted_whole() -> None:
    filters = read_filters([starter_list()])
    assert not filters.skipped
    assert len(filters.rules) > 50
    assert ".ad-overlay" in filters.hiding.unconditional


def test_the_command_makes_an_extension_that_says_where_its_lists_come_from(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "mine.txt"
    source.write_bytes(b"! Title: My list\n! License: CC0\n||ads.example^\n##.x:has-text(Ad)\n\xff\xfe\n")
    assert main(["--list", str(source), "--output", str(tmp_path / "made")]) == 0
    assert "left out: 1 (procedural)" in capsys.readouterr().out
    assert "mine.txt\n  Title: My list\n  License: CC0\n" in (tmp_path / "made" / "ATTRIBUTION.txt").read_text()
    assert check_extension(tmp_path / "made").name == "Browserfleet ad blocker"
    assert main(["--list", str(source), "--output", str(tmp_path / "made")]) == 1
    assert main(["--list", str(tmp_path / "none"), "--output", str(tmp_path / "other")]) == 1


_SYNTAX = st.sampled_from(
    [
        "||", "@@", "##", "#@#", "#?#", "^", "*", "|", "/", "$", ",", "~", "=", "domain=", "third-party", "document",
        "elemhide", "generichide", "important", "~script", "all", "match-case", "ads.example", "127.0.0.1", "a_b.c",
        "[", "]", "(", ")", "{", "}", "'", '"', "\\", "/*", "!", ".ad", "#ad", ":not(", ":has(", " ", "\t", "\n", "xn--",
    ]
)  # fmt: skip
_LISTS = st.one_of(st.text(), st.lists(st.one_of(_SYNTAX, st.text(max_size=3)), max_size=60).map("".join))


def assert_valid_rule(rule: dict[str, Any], number: int) -> None:
    condition = rule["condition"]
    assert rule["id"] == number
    assert rule["priority"] >= 1
    assert rule["action"]["type"] in {"block", "allow", "allowAllRequests"}
    pattern = condition.get("urlFilter")
    assert pattern is None or (pattern.isascii() and pattern and not pattern.startswith("||*"))
    assert pattern or any(condition.get(key) for key in _HOSTS)
    for key in _HOSTS:
        assert all(host.isascii() and host == host.lower() and host for host in condition.get(key, ["x"]))
        assert condition.get(key) != []
    assert condition.get("resourceTypes") != []
    assert set(condition.get("resourceTypes", [])) | set(condition.get("excludedResourceTypes", [])) <= _TYPES
    assert not {"resourceTypes", "excludedResourceTypes"} <= condition.keys()
    if rule["action"]["type"] == "allowAllRequests":
        assert condition["resourceTypes"] == ["main_frame"]


@settings(deadline=None, max_examples=300)
@given(_LISTS)
def test_any_text_becomes_valid_rules(text: str) -> None:
    filters = read_filters([FilterList("any", text)])
    for number, rule in enumerate(merged(filters.rules), start=1):
        assert_valid_rule(dict(rule), number)


@settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(_LISTS)
def test_any_text_becomes_a_valid_extension(text: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "made"
        write_extension([FilterList("any", text)], folder, version="1.0")
        check_extension(folder)
        for script in json.loads((folder / "manifest.json").read_text())["content_scripts"]:
            for pattern in script.get("exclude_matches", []):
                assert re.fullmatch(r"\*://\*\.[a-z0-9.-]+/\*", pattern)
        lines = (folder / "hide.css").read_text().splitlines()
        assert all(line.endswith("{display:none!important}") for line in lines)
