"""Writes the ad blocker as an unpacked extension."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from browser_node.adblock.filter_lists import FilterList, Filters, read_filters
from browser_node.adblock.network_rules import MAX_RULES, merged

NAME = "Browserfleet ad blocker"
# The content script computes the same number.
SHARDS = 64
_HIDE = "{display:none!important}\n"
_EVERYWHERE = ["http://*/*", "https://*/*"]


class TooManyRules(Exception):
    """The lists hold more rules than a browser takes."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the lists."""

    rules: int
    selectors: int
    hosts: int
    skipped: dict[str, int]


def starter_list() -> FilterList:
    """Return the list of our own: what the ad blocker knows with nothing installed."""
    text = resources.files("browser_node.adblock").joinpath("starter.txt").read_text("utf-8")
    return FilterList("starter.txt", text)


def write_extension(lists: Sequence[FilterList], folder: Path, *, version: str) -> Summary:
    """Make `folder`, which must not exist, the extension that these lists describe. Blocks.

    `version` is up to four numbers with dots between. Raises TooManyRules, OSError.
    """
    filters = read_filters(lists)
    rules = merged(filters.rules)
    if len(rules) > MAX_RULES:
        raise TooManyRules(f"{len(rules)} rules; a browser takes {MAX_RULES}")
    folder.mkdir(parents=True)
    hiding = filters.hiding
    generic = hiding.unconditional
    _write_json(folder / "rules.json", rules)
    # One rule a selector: one that this browser does not know must not take the others with it.
    (folder / "hide.css").write_text("".join(selector + _HIDE for selector in generic), "utf-8")
    _write_shards(folder / "hosts", filters)
    script = resources.files("browser_node.adblock").joinpath("hide.js").read_text("utf-8")
    everywhere = json.dumps(hiding.nearly_everywhere)
    (folder / "hide.js").write_text(script.replace("[/* everywhere */]", everywhere), "utf-8")
    (folder / "ATTRIBUTION.txt").write_text(_attribution(lists), "utf-8")
    _write_json(folder / "manifest.json", _manifest(filters, version))
    return Summary(len(rules), len(generic), len(hiding.hidden), dict(filters.skipped.most_common()))


def shard_of(host: str) -> int:
    """Return the number of the file that holds what is hidden on a host."""
    number = 0
    for character in host:
        number = (number * 31 + ord(character)) % 65_536
    return number % SHARDS


def _write_shards(folder: Path, filters: Filters) -> None:
    """Write what is hidden and kept on each host: a page reads the few small files that may be about it."""
    shards: defaultdict[int, dict[str, dict[str, list[str]]]] = defaultdict(dict)
    for what, table in (("hide", filters.hiding.hidden), ("keep", filters.hiding.kept)):
        for host, selectors in table.items():
            shards[shard_of(host)].setdefault(host, {})[what] = sorted(selectors)
    folder.mkdir()
    for number in range(SHARDS):
        _write_json(folder / f"{number}.json", shards[number])


def _manifest(filters: Filters, version: str) -> dict[str, object]:
    spared = filters.hiding.spared
    entirely = [host.host for host in spared if host.entirely]
    return {
        "manifest_version": 3,
        "name": NAME,
        "version": version,
        "permissions": ["declarativeNetRequest"],
        "declarative_net_request": {"rule_resources": [{"id": "rules", "enabled": True, "path": "rules.json"}]},
        "content_scripts": [
            {**_script([host.host for host in spared]), "css": ["hide.css"]},
            {**_script(entirely), "js": ["hide.js"]},
        ],
        # An address that changes with every start: pages cannot ask for it to find out that the extension is there.
        "web_accessible_resources": [
            {"resources": ["hosts/*.json"], "matches": _EVERYWHERE, "use_dynamic_url": True},
        ],
    }


def _script(spared: Iterable[str]) -> dict[str, object]:
    script: dict[str, object] = {
        "matches": _EVERYWHERE,
        "run_at": "document_start",
        "all_frames": True,
        "match_origin_as_fallback": True,
    }
    excluded = sorted({f"*://*.{host}/*" for host in spared})
    return {**script, "exclude_matches": excluded} if excluded else script


def _attribution(lists: Iterable[FilterList]) -> str:
    parts = ["What this extension blocks and hides was converted from these lists, whose terms hold for it.\n"]
    parts.extend("\n".join([entry.name, *(f"  {line}" for line in entry.attribution)]) + "\n" for entry in lists)
    return "\n".join(parts)


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, separators=(",", ":")), "utf-8")
