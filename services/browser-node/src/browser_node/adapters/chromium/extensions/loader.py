"""Brings what a session asks for by name into its browser, warm or cold."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Multiplexer
from browser_node.adapters.chromium.extensions.copies import place_copy
from browser_node.adapters.chromium.extensions.shelf import CAPTCHA_SOLVER, ExtensionShelf, UnusableExtensions
from browser_node.domain.errors import OptionUnavailable
from browser_node.domain.options import Receipt, ReceiptState

_OPTION = "extensions"


class CaptchaWatch(Protocol):
    """A solver at work in one browser."""

    async def close(self) -> None:
        """Stop looking; what is under way is given up. Does not raise."""
        ...


class CaptchaSolver(Protocol):
    """What solves captchas for a node's sessions: a service beside the browser, not an extension inside it."""

    @property
    def description(self) -> str:
        """What a receipt shows."""
        ...

    async def watch(self, multiplexer: Multiplexer) -> CaptchaWatch:
        """Begin to solve what a browser's pages ask. Raises CdpError."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadedExtensions:
    """What a session's browser has got. `captcha_watch` is to be closed with the browser."""

    receipt: Receipt
    captcha_watch: CaptchaWatch | None


class ExtensionLoader:
    """Loads extensions of the shelf, and sets the captcha solver to work."""

    def __init__(self, shelf: ExtensionShelf, *, captcha_solver: CaptchaSolver | None) -> None:
        self._shelf = shelf
        self._captcha_solver = captcha_solver

    @property
    def names(self) -> tuple[str, ...]:
        """What the node can load and is configured: its capability."""
        solver = (CAPTCHA_SOLVER,) if self._captcha_solver else ()
        return tuple(sorted((*self._shelf.names, *solver)))

    def check(self, names: Sequence[str]) -> None:
        """Do nothing when every name can be loaded. Raises OptionUnavailable for the first that cannot."""
        for name in names:
            if name not in self.names:
                message = "This node has no captcha solver." if name == CAPTCHA_SOLVER else "No extension of this name."
                raise OptionUnavailable(message, option=_OPTION, value=name)

    async def load(
        self, names: Sequence[str], *, multiplexer: Multiplexer, folder: Path, user: int | None
    ) -> LoadedExtensions:
        """Load into a browser, before its first page: all contexts and every navigation from now on have them.

        `folder` is one that lives as long as the browser, of its user `user`. Raises OptionUnavailable before anything
        is loaded, CdpError, OSError.
        """
        self.check(names)
        ids = {
            name: await self._load_unpacked(name, multiplexer, folder, user) for name in names if name != CAPTCHA_SOLVER
        }
        reported = await _reported(multiplexer) if ids else {}
        lines = [f"{name}: {_account(reported.get(extension_id))}" for name, extension_id in ids.items()]
        missing = [name for name, extension_id in ids.items() if not reported.get(extension_id, {}).get("enabled")]
        watch = None
        if self._captcha_solver is not None and CAPTCHA_SOLVER in names:
            watch = await self._captcha_solver.watch(multiplexer)
            lines.append(f"{CAPTCHA_SOLVER}: {self._captcha_solver.description}")
        receipt = Receipt(
            option=_OPTION,
            requested=", ".join(names),
            reported="; ".join(lines),
            state=ReceiptState.DIFFERENT if missing else ReceiptState.APPLIED,
            message=f"The browser does not run {', '.join(missing)}." if missing else "",
        )
        return LoadedExtensions(receipt=receipt, captcha_watch=watch)

    async def prove(self, *, multiplexer: Multiplexer, folder: Path, user: int | None) -> None:
        """Load everything on the shelf into a browser that nobody uses. Raises UnusableExtensions with every fault."""
        faults: list[str] = []
        for name in self._shelf.names:
            try:
                extension_id = await self._load_unpacked(name, multiplexer, folder, user)
                if not (await _reported(multiplexer)).get(extension_id, {}).get("enabled"):
                    faults.append(f"{name}: the browser does not run it")
            except (CdpError, OSError) as error:
                faults.append(f"{name}: the browser does not load it: {error}")
        if faults:
            raise UnusableExtensions(faults)

    async def _load_unpacked(self, name: str, multiplexer: Multiplexer, folder: Path, user: int | None) -> str:
        extension = self._shelf.get(name)
        if extension is None:
            raise OptionUnavailable("No extension of this name.", option=_OPTION, value=name)
        copy = folder / f"x-{name}"
        await asyncio.to_thread(place_copy, extension.folder, copy, user)
        # Incognito is what Chrome takes the contexts for that clients make.
        loaded = await multiplexer.call("Extensions.loadUnpacked", {"path": str(copy), "enableInIncognito": True})
        return str(loaded["id"])


async def _reported(multiplexer: Multiplexer) -> dict[str, dict[str, Any]]:  # as the browser describes them
    extensions = (await multiplexer.call("Extensions.getExtensions"))["extensions"]
    return {str(extension["id"]): extension for extension in extensions}


def _account(extension: dict[str, Any] | None) -> str:
    if extension is None:
        return "not loaded"
    return f"{extension['name']} {extension['version']} ({extension['id']})"
