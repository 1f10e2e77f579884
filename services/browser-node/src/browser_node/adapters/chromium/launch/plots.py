"""Where browsers grow."""

from browser_node.adapters.chromium.confinement.confinement import Confinement
from browser_node.adapters.chromium.processes.accounts import Accounts
from browser_node.adapters.chromium.processes.folders import Scratch
from browser_node.adapters.chromium.processes.tree import BrowserTree


class BrowserPlots:
    """Hands out fresh trees."""

    def __init__(self, *, scratch: Scratch, accounts: Accounts, confinement: Confinement | None = None) -> None:
        self._scratch = scratch
        self._accounts = accounts
        self._confinement = confinement or Confinement()

    def new(self) -> BrowserTree:
        return BrowserTree(scratch=self._scratch, accounts=self._accounts, confinement=self._confinement)

    @property
    def tree_count(self) -> int:
        """How many trees have not been removed to their last file."""
        return self._accounts.taken_count
