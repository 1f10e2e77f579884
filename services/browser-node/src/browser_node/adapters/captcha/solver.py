"""The captcha solver of a node, as its settings say."""

import contextlib
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

from browser_node.adapters.captcha.settings import SolverSettings
from browser_node.adapters.captcha.watch import BrowserWatch, Solver
from browser_node.adapters.chromium.cdp.multiplexer import Multiplexer


class NodeCaptchaSolver:
    """Solves captchas in any number of browsers."""

    def __init__(self, solver: Solver, settings: SolverSettings) -> None:
        self._solver = solver
        self._settings = settings

    @property
    def description(self) -> str:
        """What a receipt shows."""
        if self._settings.url is None:
            return "offline, image captchas only"
        return f"service at {urlsplit(self._settings.url).hostname}"

    async def watch(self, multiplexer: Multiplexer) -> BrowserWatch:
        """Begin to solve what a browser's pages ask. Raises CdpError."""
        watch = BrowserWatch(multiplexer, self._solver, self._settings)
        await watch.open()
        return watch


@contextlib.asynccontextmanager
async def opened_captcha_solver(settings: SolverSettings | None) -> AsyncIterator[NodeCaptchaSolver | None]:
    """Have the solver within the block, None when there are no settings. Raises SolverMissing."""
    # Imported only where they are used: each costs memory that the browsers could have.
    if settings is None:
        yield None
    elif settings.url is None:
        from browser_node.adapters.captcha.offline_solver import OfflineSolver

        yield NodeCaptchaSolver(await OfflineSolver.open(), settings)
    else:
        from browser_node.adapters.captcha.solver_service import SolverService, http_client

        async with await http_client() as http:
            yield NodeCaptchaSolver(SolverService(http, settings), settings)
