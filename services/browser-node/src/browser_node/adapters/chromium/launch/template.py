"""A profile made once, at the node's start: a browser that begins with a copy of it need not make its own.

The browser that made it opened nothing but its own pages, so there is nothing of anybody in it.
"""

import json
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

_LEFT_OUT = shutil.ignore_patterns("Singleton*", "DevToolsActivePort", "lockfile", "BrowserMetrics*", "*.pma")
# The one folder that is taken along: settings and empty databases. Caches and stores, which lie deeper, are quicker made
# than copied.
_TAKEN = "Default"
# What names one installation, file by file: two sessions must not be told to be the same.
_NAMES = {
    "Local State": (("user_experience_metrics",), ("session_id_generator_last_value",)),
    "Default/Preferences": (("enterprise_profile_guid",), ("google", "services", "signin_scoped_device_id")),
}


@dataclass(frozen=True, slots=True)
class ProfileTemplate:
    """A folder to copy. Its methods block."""

    folder: Path

    @classmethod
    def of(cls, profile: Path, folder: Path) -> "ProfileTemplate":
        """Make one of the profile of a browser that has ended. Raises OSError."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        shutil.copytree(profile, folder, ignore=lambda place, names: _left_out(profile, Path(place), names))
        for name, keys in _NAMES.items():
            _forget(folder / name, keys)
        return cls(folder)

    def copy(self, profile: Path, user: int | None) -> None:
        """Fill a browser's empty profile folder. Raises OSError."""
        shutil.copytree(self.folder, profile, dirs_exist_ok=True)
        if user is not None:
            for path in profile.rglob("*"):
                os.chown(path, user, user, follow_symlinks=False)


def _left_out(profile: Path, place: Path, names: list[str]) -> set[str]:
    return _LEFT_OUT(str(place), names) | {
        name for name in names if (place / name).is_dir() and (place != profile or name != _TAKEN)
    }


def _forget(path: Path, keys: Iterable[tuple[str, ...]]) -> None:
    """Take what these keys lead to out of a file of JSON, if there is one."""
    if not path.is_file():
        return
    content = json.loads(path.read_bytes())
    for *way, last in keys:
        place = content
        for key in way:
            place = place.get(key, {})
        place.pop(last, None)
    path.write_text(json.dumps(content))
