"""Reads simple image captchas on the node itself, with the optional package `ddddocr`."""

import asyncio
from typing import Protocol

from browser_node.adapters.captcha.challenge import Challenge, ChallengeKind, NotSolved
from fleetkit.settings import SettingsError


class SolverMissing(SettingsError):
    """The offline solver was asked for and is not installed; the message names what installs it."""


class _Reader(Protocol):
    def classification(self, img: bytes) -> str: ...


class OfflineSolver:
    """Solves image captchas only: three of four with four digits, hardly any with mixed letters."""

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._reading = asyncio.Lock()

    @classmethod
    async def open(cls) -> "OfflineSolver":
        """Load the models: a second and about 100 MB. Raises SolverMissing."""
        return cls(await asyncio.to_thread(_load))

    async def solve(self, challenge: Challenge) -> str:
        """Return the text in a picture. Raises NotSolved."""
        if challenge.kind is not ChallengeKind.IMAGE:
            raise NotSolved("offline")
        try:
            # One at a time: the cores belong to the browsers.
            async with self._reading:
                text = await asyncio.to_thread(self._reader.classification, challenge.image)
        except Exception as error:  # whatever a picture does to the package, which promises nothing
            raise NotSolved("unreadable") from error
        if not text:
            raise NotSolved("unreadable")
        return text


def _load() -> _Reader:
    try:
        from ddddocr import DdddOcr  # type: ignore[import-not-found]  # an optional package, and untyped
    except ImportError:
        fault = (
            "FLEET_CAPTCHA_SOLVER: offline needs a package that is not installed: "
            "pip install 'browserfleet-browser-node[captcha-offline]'"
        )
        raise SolverMissing([fault]) from None
    reader: _Reader = DdddOcr(show_ad=False)
    return reader
