"""A profile made once, at the node's start: a browser that begins with a copy of it need not make its own.

The browser that made it opened nothing but its own pages, so there is nothing of anybody in it.
"""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

# Caches, locks and what names one installation: each browser makes its own.
_LEFT_OUT = shutil.ignore_patterns(
    "Singleton*",
    "DevToolsActivePort",
    "lockfile",
    "*Cache",
    "Crashpad",
    "BrowserMetrics*",
    "*.log",
    "*.pma",
    "LOCK",
    "LOG",
    "LOG.old",
)


@dataclass(frozen=True, slots=True)
class ProfileTemplate:
    """A folder to copy. Its methods block."""

    folder: Path

    @classmethod
    def of(cls, profile: Path, folder: Path) -> "ProfileTemplate":
        """Make one of the profile of a browser that has ended. Raises OSError."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copytree(profile, folder, ignore=_LEFT_OUT, symlinks=True)
        return cls(folder)

    def copy(self, profile: Path, user: int | None) -> None:
        """Fill a browser's empty profile folder. Raises OSError."""
        shutil.copytree(self.folder, profile, dirs_exist_ok=True, symlinks=True)
        if user is None:
            return
        for root, folders, files in os.walk(profile):
            for name in (*folders, *files):
                os.chown(os.path.join(root, name), user, user, follow_symlinks=False)  # noqa: PTH118  # hundreds of them
