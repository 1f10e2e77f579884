"""The table of browser kinds: where each may be found and how it is started."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from browser_node.domain.browser import BrowserKind

# Size of the page area; the window is higher by what new headless mode draws above it.
_PAGE_SIZE = (1280, 720)
_WINDOW_EXTRA = 87


@dataclass(frozen=True, slots=True)
class KindRow:
    """A kind of browser: its program, in order of preference, and the scheme of its own pages."""

    candidates: tuple[str, ...]
    scheme: str


KINDS: Mapping[BrowserKind, KindRow] = {
    BrowserKind.CHROME: KindRow(
        candidates=(
            "/opt/google/chrome/chrome",
            "/usr/bin/google-chrome-stable",
            "/usr/bin/google-chrome",
            # The program behind Debian's launcher script: the script adds flags and extensions of its own.
            "/usr/lib/chromium/chromium",
            "/usr/bin/chromium",
            "/usr/bin/chromium-browser",
        ),
        scheme="chrome",
    ),
    BrowserKind.MSEDGE: KindRow(
        candidates=(
            "/opt/microsoft/msedge/msedge",
            "/usr/bin/microsoft-edge-stable",
            "/usr/bin/microsoft-edge",
        ),
        scheme="edge",
    ),
}

_FLAGS = (
    "--headless=new",
    "--remote-debugging-pipe",
    f"--window-size={_PAGE_SIZE[0]},{_PAGE_SIZE[1] + _WINDOW_EXTRA}",
    "--no-first-run",
    "--no-default-browser-check",
    "--no-service-autorun",
    "--password-store=basic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-component-extensions-with-background-pages",
    "--disable-sync",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--no-pings",
    "--metrics-recording-only",
    "--disable-breakpad",
    "--disable-crash-reporter",
    "--disable-search-engine-choice-screen",
    "--mute-audio",
    # A container's /dev/shm is 64 MB; pages that outgrow it crash.
    "--disable-dev-shm-usage",
    # Pages that are not in front go on working: runs and people look at different ones.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-features=Translate,MediaRouter,OptimizationHints,GlobalMediaControls,DialMediaRouteProvider",
)


def find_program(kind: BrowserKind, configured: Path | None) -> Path | None:
    """Return the program of a kind. A configured path, which is Chrome's, is taken or nothing."""
    if kind is BrowserKind.CHROME and configured is not None:
        return configured if os.access(configured, os.X_OK) else None
    return next((Path(path) for path in KINDS[kind].candidates if os.access(path, os.X_OK)), None)


def arguments(program: Path, profile: Path, *, sandboxed: bool) -> list[str]:
    """Return the command line of a browser that opens a blank page."""
    sandbox = () if sandboxed else ("--no-sandbox",)
    return [str(program), f"--user-data-dir={profile}", *_FLAGS, *sandbox, "about:blank"]
