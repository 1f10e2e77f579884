"""Filters of network requests, as rules of Chrome's declarativeNetRequest."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NotRequired, TypedDict

# Chrome shares 300,000 static rules among all extensions of a browser, beyond 30,000 that each may have at least.
MAX_RULES = 300_000
_HOSTS_PER_RULE = 5_000
_MAX_PATTERN = 2_000

_TYPES = {
    "script": "script",
    "image": "image",
    "stylesheet": "stylesheet",
    "css": "stylesheet",
    "object": "object",
    "xmlhttprequest": "xmlhttprequest",
    "xhr": "xmlhttprequest",
    "subdocument": "sub_frame",
    "frame": "sub_frame",
    "ping": "ping",
    "websocket": "websocket",
    "media": "media",
    "font": "font",
    "other": "other",
    "document": "main_frame",
    "doc": "main_frame",
}
_EVERY_TYPE = sorted(set(_TYPES.values()))
# Options of exceptions that spare a page from hiding; see `hiding`.
_PAGE_OPTIONS = frozenset({"elemhide", "ehide", "generichide", "ghide"})

_OPTIONS = re.compile(r"(?P<pattern>.*)\$(?P<options>~?[\w-]+(?:=[^,]*)?(?:,~?[\w-]+(?:=[^,]*)?)*)")
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)+")
# A host that can stand in a match pattern, where Chrome takes no more than this.
_PATTERN_HOST = re.compile(r"[a-z0-9.-]+\.([a-z]{2,}|xn--[a-z0-9-]+)")
_WHOLE_HOST = re.compile(rf"\|\|(?P<host>{_HOST.pattern})\^")


class Action(TypedDict):
    """What becomes of a request."""

    type: str


class Condition(TypedDict, total=False):
    """Which requests a rule is about, in Chrome's terms."""

    urlFilter: str
    isUrlFilterCaseSensitive: bool
    requestDomains: list[str]
    initiatorDomains: list[str]
    excludedInitiatorDomains: list[str]
    resourceTypes: list[str]
    excludedResourceTypes: list[str]
    domainType: str


class Rule(TypedDict):
    """A rule as it stands in the extension; the number comes last of all."""

    id: NotRequired[int]
    priority: int
    action: Action
    condition: Condition


class NotConvertible(Exception):
    """A filter that has no counterpart in an MV3 extension; the message is a word to count it under."""


@dataclass(frozen=True, slots=True)
class SparedHost:
    """A host on whose pages nothing generic is hidden, or nothing at all."""

    host: str
    entirely: bool


def host_name(text: str) -> str:
    """Return a host name as browsers compare it. Raises NotConvertible."""
    try:
        name = text.strip(".").lower() if text.isascii() else text.strip(".").encode("idna").decode().lower()
    except UnicodeError:
        raise NotConvertible("host") from None
    if not _HOST.fullmatch(name) or len(name) > 253:
        raise NotConvertible("host")
    return name


def network_rule(filter_text: str) -> Rule | SparedHost:
    """Convert one filter. Raises NotConvertible."""
    allows = filter_text.startswith("@@")
    text = filter_text[2:] if allows else filter_text
    match = _OPTIONS.fullmatch(text)
    pattern, options = (match["pattern"], match["options"].split(",")) if match else (text, [])
    if allows and options and all(option in _PAGE_OPTIONS for option in options):
        return _spared_host(pattern, options)
    condition = _pattern_condition(pattern)
    important = _apply_options(condition, options)
    if not condition.get("urlFilter") and not condition.get("initiatorDomains"):
        raise NotConvertible("matches everything")
    action = "block"
    if allows:
        action = "allowAllRequests" if condition.get("resourceTypes") == ["main_frame"] else "allow"
    return {"priority": 1 + allows + 2 * important, "action": {"type": action}, "condition": condition}


def _spared_host(pattern: str, options: list[str]) -> SparedHost:
    match = _WHOLE_HOST.fullmatch(pattern)
    if match is None or not _PATTERN_HOST.fullmatch(match["host"]):
        raise NotConvertible("hiding exception of a path")
    return SparedHost(match["host"], entirely="elemhide" in options or "ehide" in options)


def _pattern_condition(pattern: str) -> Condition:
    if len(pattern) > 1 and pattern.startswith("/") and pattern.endswith("/"):
        raise NotConvertible("regular expression")
    if not pattern.isascii() or not pattern.isprintable() or " " in pattern or len(pattern) > _MAX_PATTERN:
        raise NotConvertible("characters")
    pattern = pattern.rstrip("*") if pattern.startswith("|") else pattern.strip("*")
    # Chrome refuses an anchor with nothing, or anything, behind it.
    pattern = pattern.removeprefix("||*")
    if pattern.startswith("||*") or not pattern.strip("|*^"):
        pattern = ""
    return {"urlFilter": pattern} if pattern else {}


def _apply_options(condition: Condition, options: Iterable[str]) -> bool:
    """Add to a condition what a filter's options say; tell whether it is an important one."""
    included: set[str] = set()
    excluded: set[str] = set()
    important = False
    for option in options:
        negated = option.startswith("~")
        name, _, value = option.removeprefix("~").partition("=")
        if name in _TYPES:
            (excluded if negated else included).add(_TYPES[name])
        elif name == "all" and not negated:
            included.update(_EVERY_TYPE)
        elif name in {"third-party", "3p"}:
            condition["domainType"] = "firstParty" if negated else "thirdParty"
        elif name in {"first-party", "1p"}:
            condition["domainType"] = "thirdParty" if negated else "firstParty"
        elif name in {"domain", "from"} and not negated:
            _apply_initiators(condition, value)
        elif name == "match-case" and not negated:
            condition["isUrlFilterCaseSensitive"] = True
        elif name == "important" and not negated:
            important = True
        else:
            raise NotConvertible(f"${name}")
    if included:
        condition["resourceTypes"] = sorted(included - excluded)
        if not condition["resourceTypes"]:
            raise NotConvertible("no type")
    elif excluded:
        # Without this Chrome would take pages themselves to be meant too.
        condition["excludedResourceTypes"] = sorted(excluded | {"main_frame"})
    return important


def _apply_initiators(condition: Condition, value: str) -> None:
    names = [name for name in value.split("|") if name]
    initiators = sorted({host_name(name) for name in names if not name.startswith("~")})
    excluded = sorted({host_name(name[1:]) for name in names if name.startswith("~")})
    if not initiators and not excluded:
        raise NotConvertible("host")
    if initiators:
        condition["initiatorDomains"] = initiators
    if excluded:
        condition["excludedInitiatorDomains"] = excluded


def merged(rules: Iterable[Rule]) -> list[Rule]:
    """Number the rules; those that block whole hosts, and differ in nothing else, become few that name many hosts.

    Chrome indexes the rules at each load into a fresh profile: a tenth of them takes a tenth of the time.
    """
    groups: dict[str, tuple[Rule, set[str]]] = {}
    others: dict[str, Rule] = {}
    for rule in rules:
        match = _WHOLE_HOST.fullmatch(rule["condition"].get("urlFilter", ""))
        if match is None or rule["action"]["type"] != "block":
            others.setdefault(repr(rule), rule)
            continue
        condition = rule["condition"].copy()
        del condition["urlFilter"]
        condition.pop("isUrlFilterCaseSensitive", None)
        bare: Rule = {"priority": rule["priority"], "action": rule["action"], "condition": condition}
        groups.setdefault(repr(bare), (bare, set()))[1].add(match["host"])
    result: list[Rule] = []
    for bare, hosts in groups.values():
        names = sorted(hosts)
        for start in range(0, len(names), _HOSTS_PER_RULE):
            condition = bare["condition"].copy()
            condition["requestDomains"] = names[start : start + _HOSTS_PER_RULE]
            result.append({"priority": bare["priority"], "action": bare["action"], "condition": condition})
    result.extend(others.values())
    return [{**rule, "id": number} for number, rule in enumerate(result, start=1)]
