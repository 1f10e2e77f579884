"""The table of browsers: where each may be found, how it is started, and what it calls itself."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from browser_node.domain.browser import BrowserKind
from browser_node.domain.options import BrowserTier

# Size of the page area of a browser that nobody asked another size of.
PAGE_SIZE = (1280, 720)


@dataclass(frozen=True, slots=True)
class Model:
    """What a session can ask for: a kind of browser in a tier."""

    kind: BrowserKind
    tier: BrowserTier = BrowserTier.FULL


@dataclass(frozen=True, slots=True, kw_only=True)
class KindRow:
    """One model.

    `candidates` are its programs in order of preference; `products` what its product string may begin with. `scheme`
    is that of its own pages, None where it has none. `frame_height` is what a window needs above its page. `modes` are
    the flags that only this model takes.
    """

    candidates: tuple[str, ...]
    products: tuple[str, ...]
    scheme: str | None
    frame_height: int
    modes: tuple[str, ...] = ()


# What new headless mode draws above a page.
_HEADLESS_FRAME = 87
# Branded builds load extensions over the pipe only with the second one.
_WHOLE = ("--headless=new", "--enable-unsafe-extension-debugging")

ROWS: Mapping[Model, KindRow] = {
    Model(BrowserKind.CHROME): KindRow(
        candidates=(
            "/opt/google/chrome/chrome",
            "/usr/bin/google-chrome-stable",
            "/usr/bin/google-chrome",
            # The program behind Debian's launcher script: the script adds flags and extensions of its own.
            "/usr/lib/chromium/chromium",
            "/usr/bin/chromium",
            "/usr/bin/chromium-browser",
        ),
        products=("Chrome/",),
        scheme="chrome",
        frame_height=_HEADLESS_FRAME,
        modes=_WHOLE,
    ),
    Model(BrowserKind.CHROME, BrowserTier.LEAN): KindRow(
        candidates=("/usr/lib/chromium/chromium-headless-shell",),
        products=("HeadlessChrome/",),
        scheme=None,
        frame_height=0,
    ),
    Model(BrowserKind.MSEDGE): KindRow(
        candidates=(
            "/opt/microsoft/msedge/msedge",
            "/usr/bin/microsoft-edge-stable",
            "/usr/bin/microsoft-edge",
        ),
        products=("Edg/", "HeadlessEdg/"),
        scheme="edge",
        frame_height=_HEADLESS_FRAME,
        modes=_WHOLE,
    ),
}

_FLAGS = (
    "--remote-debugging-pipe",
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
    # Without this Chrome draws a warning above the page about flags that it calls unsupported.
    "--test-type",
    # A container's /dev/shm is 64 MB; pages that outgrow it crash.
    "--disable-dev-shm-usage",
    # Pages that are not in front go on working: runs and people look at different ones.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    "--disable-features=Translate,MediaRouter,OptimizationHints,GlobalMediaControls,DialMediaRouteProvider",
)

_CHROME = Model(BrowserKind.CHROME)


def find_program(
    kind: BrowserKind, configured: Path | None = None, *, tier: BrowserTier = BrowserTier.FULL
) -> Path | None:
    """Return the program of a model. A configured path is taken or nothing."""
    if configured is not None:
        return configured if os.access(configured, os.X_OK) else None
    row = ROWS.get(Model(kind, tier))
    if row is None:
        return None
    return next((Path(path) for path in row.candidates if os.access(path, os.X_OK)), None)


def arguments(
    program: Path, profile: Path, *, sandboxed: bool, model: Model = _CHROME, extra: Sequence[str] = ()
) -> list[str]:
    """Return the command line of a browser that opens a blank page."""
    row = ROWS[model]
    width, height = PAGE_SIZE
    return [
        str(program),
        f"--user-data-dir={profile}",
        *row.modes,
        f"--window-size={width},{height + row.frame_height}",
        *_FLAGS,
        *extra,
        *(() if sandboxed else ("--no-sandbox",)),
        "about:blank",
    ]
