"""`python -m browser_node.adblock`: converts filter lists into the extension that FLEET_AD_BLOCKER_DIR names."""

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from browser_node.adblock.extension import TooManyRules, starter_list, write_extension
from browser_node.adblock.filter_lists import FilterList


def main(arguments: list[str]) -> int:
    """Convert, and say what became of the lists."""
    parser = argparse.ArgumentParser(prog="python -m browser_node.adblock", description=__doc__)
    parser.add_argument(
        "--list", dest="lists", type=Path, nargs="*", action="extend", default=[], metavar="FILE",
        help="filter lists in Adblock Plus syntax, besides the built-in starter list",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="folder to make; must not exist")
    options = parser.parse_args(arguments)
    try:
        lists = [starter_list(), *(FilterList(path.name, path.read_text("utf-8", "replace")) for path in options.lists)]
        summary = write_extension(lists, options.output, version=f"{datetime.now(UTC):%Y.%-m.%-d}")
    except (OSError, TooManyRules) as error:
        print(f"the ad blocker was not made: {error}", file=sys.stderr)
        return 1
    print(f"{summary.rules} rules, {summary.selectors} selectors for every page, others for {summary.hosts} hosts")
    for cause, count in summary.skipped.items():
        print(f"  left out: {count} ({cause})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
