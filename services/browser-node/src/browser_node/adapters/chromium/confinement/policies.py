"""The managed policy of browsers: what no page and no client can have, whatever way it asks.

It stands behind the command filter, in the browser itself. `managed_policy.json` is the very file that a browser
reads, so that an image may hold it where browsers look for it. The lean tier (chromium-headless-shell) reads none.
Extensions are not in it: a block list would also refuse those that the node loads over the pipe. Nor are the browser's
own pages (chrome:), which no web page can open and the filter refuses to clients: Chromium 156 ends with a failed
check when a page that shows one refusal is led to such a page.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

POLICY_FILE = Path(__file__).with_name("managed_policy.json")
# Where Chromium, Chrome and Edge look, below folders of /etc that come with the system or with the browser.
_PLACES = {
    Path("/etc/chromium"): ("policies/managed",),
    Path("/etc/opt"): ("chrome/policies/managed", "edge/policies/managed"),
}


def lay_policies(folder: Path) -> Mapping[Path, Path]:
    """Write the policies below `folder`; return what is to be laid over which folder of the system. Raises OSError."""
    layers: dict[Path, Path] = {}
    shutil.rmtree(folder, ignore_errors=True)
    for target, places in _PLACES.items():
        if not target.is_dir():
            continue
        layers[target] = folder / target.name
        for place in places:
            managed = layers[target] / place
            managed.mkdir(parents=True, mode=0o755)
            shutil.copyfile(POLICY_FILE, managed / "browserfleet.json")
    return layers
