"""The extensions that a node knows by name, in copies of its own.

The copies are taken once, at the start: what was checked is what every session loads, whatever happens to the
operator's folder meanwhile. Their files belong to the node and are read-only, so sessions share them as hard links.
"""

import asyncio
import contextlib
import logging
import os
import re
import shutil
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from browser_node.adapters.chromium.extensions.manifest import BadExtension, Manifest, check_extension
from browser_node.adapters.chromium.processes.accounts import own_folder
from browser_node.adblock.extension import starter_list, write_extension
from fleetkit.settings import SettingsError

log = logging.getLogger(__name__)

AD_BLOCKER = "ad-blocker"
CAPTCHA_SOLVER = "captcha-solver"
# As the contract has it.
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?")
_MAX_NAME = 64
_MAX_EXTENSIONS = 98  # a node reports at most 100 names, and two are built in
_STARTER_VERSION = "1.0"
# What Chrome itself has written into a folder at an earlier load.
_LEFT_OUT = shutil.ignore_patterns("_metadata")


class UnusableExtensions(SettingsError):
    """Extensions that the operator names and the node cannot take, one line for each fault."""


@dataclass(frozen=True, slots=True)
class ShelvedExtension:
    """An extension in the node's own copy."""

    folder: Path
    manifest: Manifest


class ExtensionShelf:
    """Unpacked extensions by name."""

    def __init__(self, extensions: Mapping[str, ShelvedExtension]) -> None:
        self._extensions = extensions

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self._extensions))

    def get(self, name: str) -> ShelvedExtension | None:
        return self._extensions.get(name)


@contextlib.asynccontextmanager
async def stocked_shelf(
    place: Path, *, extensions: Path | None, ad_blocker: Path | None
) -> AsyncIterator[ExtensionShelf]:
    """Keep copies of the ad blocker and the operator's extensions in `place` within the block.

    `extensions` holds a folder for each of the operator's; `ad_blocker` is what `python -m browser_node.adblock` has
    made, without it the starter list is used. Raises UnusableExtensions, OSError.
    """
    try:
        yield ExtensionShelf(await asyncio.to_thread(_stock, place, extensions, ad_blocker))
    finally:
        await asyncio.to_thread(shutil.rmtree, place, ignore_errors=True)


def _stock(place: Path, extensions: Path | None, ad_blocker: Path | None) -> dict[str, ShelvedExtension]:
    sources, faults = _operators(extensions) if extensions else ({}, [])
    if ad_blocker is not None:
        sources[AD_BLOCKER] = ad_blocker
    faults.extend(_faults_of(sources))
    if faults:
        raise UnusableExtensions(faults)
    own_folder(place, 0o711)
    stock = {name: _take_in(source, place / name) for name, source in sources.items()}
    if ad_blocker is None:
        write_extension([starter_list()], place / AD_BLOCKER, version=_STARTER_VERSION)
        stock[AD_BLOCKER] = _shelved(place / AD_BLOCKER)
    log.info("extensions: %s", ", ".join(f"{name} {stock[name].manifest.version}" for name in sorted(stock)))
    return stock


def _operators(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """Return the operator's extensions, and what is wrong with how they are laid out."""
    try:
        entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    except OSError as error:
        return {}, [f"{folder} cannot be read: {error.strerror}"]
    sources: dict[str, Path] = {}
    faults: list[str] = []
    for entry in entries:
        if entry.name in {AD_BLOCKER, CAPTCHA_SOLVER}:
            faults.append(f"{entry.name}: the name belongs to a built-in extension")
        elif not _NAME.fullmatch(entry.name) or len(entry.name) > _MAX_NAME:
            faults.append(f"{entry.name!r}: a name has small letters, digits, dots, dashes and underscores, at most 64")
        elif not entry.is_dir():
            faults.append(f"{entry.name}: is not a folder; extensions are unpacked")
        else:
            sources[entry.name] = entry
    if len(sources) > _MAX_EXTENSIONS:
        faults.append(f"{folder} holds more than {_MAX_EXTENSIONS} extensions")
    return sources, faults


def _faults_of(sources: Mapping[str, Path]) -> list[str]:
    faults: list[str] = []
    for name, source in sources.items():
        try:
            check_extension(source)
        except BadExtension as bad:
            faults.extend(f"{name}: {fault}" for fault in bad.faults)
    return faults


def _take_in(source: Path, folder: Path) -> ShelvedExtension:
    # As links, if anything has become one since the check; what was copied is checked again.
    shutil.copytree(source, folder, symlinks=True, ignore=_LEFT_OUT)
    try:
        return _shelved(folder)
    except BadExtension as bad:
        raise UnusableExtensions([f"{folder.name}: {fault}" for fault in bad.faults]) from None


def _shelved(folder: Path) -> ShelvedExtension:
    manifest = check_extension(folder)
    for parent, _, names in os.walk(folder):
        Path(parent).chmod(0o755)
        for name in names:
            Path(parent, name).chmod(0o444)
    return ShelvedExtension(folder, manifest)
