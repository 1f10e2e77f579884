"""What the manifest of an unpacked extension has to say before the node takes it."""

import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What would lead out of a session: programs of the machine, other pages' debugger, other extensions, and settings that
# take traffic past the session's egress.
_REFUSED_PERMISSIONS = frozenset({"nativeMessaging", "debugger", "management", "proxy", "privacy"})
_VERSION = re.compile(r"\d{1,5}(\.\d{1,5}){0,3}")
_MAX_BYTES = 100 << 20
_MAX_FILES = 20_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """An extension's own account of itself, as far as the node shows it."""

    name: str
    version: str


class BadExtension(Exception):
    """An extension that the node does not take; `faults` says why, in full."""

    def __init__(self, faults: list[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = faults


def check_extension(folder: Path) -> Manifest:
    """Check an unpacked extension. Blocks. Raises BadExtension with every fault."""
    try:
        faults = list(_file_faults(folder))
        # Extensions are written by people on all systems: a byte order mark is no fault.
        manifest = json.loads((folder / "manifest.json").read_text("utf-8-sig"))
    except FileNotFoundError:
        raise BadExtension(["has no manifest.json"]) from None
    except (OSError, ValueError, RecursionError) as error:
        raise BadExtension([f"manifest.json cannot be read: {type(error).__name__}"]) from None
    if not isinstance(manifest, dict):
        raise BadExtension(["manifest.json is not an object"])
    faults.extend(_manifest_faults(manifest))
    if faults:
        raise BadExtension(faults)
    return Manifest(name=manifest["name"], version=manifest["version"])


def _file_faults(folder: Path) -> Iterator[str]:
    """Only plain files and folders: what else there is could show a browser more of the machine."""
    files = size = 0
    for parent, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(parent, name)
            facts = path.lstat()
            if not stat.S_ISREG(facts.st_mode) and not stat.S_ISDIR(facts.st_mode):
                yield f"{path.relative_to(folder)} is neither a file nor a folder"
            files += 1
            size += facts.st_size if stat.S_ISREG(facts.st_mode) else 0
    if files > _MAX_FILES or size > _MAX_BYTES:
        yield f"is larger than {_MAX_FILES} files or {_MAX_BYTES >> 20} MiB"


def _manifest_faults(manifest: dict[str, Any]) -> Iterator[str]:  # a manifest is any JSON
    if manifest.get("manifest_version") != 3:
        yield "is not of manifest version 3, the only one that browsers still load"
    if not isinstance(manifest.get("name"), str) or not manifest["name"].strip():
        yield "has no name"
    version = manifest.get("version")
    if not isinstance(version, str) or not _VERSION.fullmatch(version):
        yield "has no version of one to four numbers"
    for key in ("permissions", "optional_permissions"):
        permissions = manifest.get(key, [])
        if not isinstance(permissions, list):
            yield f"{key} is not a list"
            continue
        # An entry may also be an object; its keys are what is asked for.
        names = {name for entry in permissions for name in ([entry] if isinstance(entry, str) else _keys(entry))}
        if refused := sorted(names & _REFUSED_PERMISSIONS):
            yield f"asks for {', '.join(refused)}, which would lead out of its session"


def _keys(entry: object) -> list[str]:
    return [key for key in entry if isinstance(key, str)] if isinstance(entry, dict) else []
