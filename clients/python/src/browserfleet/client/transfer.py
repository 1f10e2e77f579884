"""Bytes from a signed URL into a file: streamed, resumed after a cut, checked."""

import asyncio
import hashlib
import logging
import os
import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import BinaryIO, TypeAlias

import httpx

from browserfleet.client.calls import Retries
from browserfleet.client.errors import TransferFailed

# Called with the bytes that have arrived and the bytes in all.
Progress: TypeAlias = Callable[[int, int], None]
# Returns a signed URL that is good now.
SignedUrl: TypeAlias = Callable[[], Awaitable[str]]

_IDLE_TIMEOUT = timedelta(seconds=30)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)$")
_MAX_NAME_BYTES = 200


def open_http() -> httpx.AsyncClient:
    """Return the HTTP client for signed URLs; it holds no credentials."""
    # httpx logs each URL at INFO, and the signature is a credential.
    logging.getLogger("httpx").addFilter(_without_signature)
    return httpx.AsyncClient(timeout=_IDLE_TIMEOUT.total_seconds(), follow_redirects=False)


def clean_name(display_name: str, fallback: str) -> str:
    """Return a file name that is safe in any folder of any system, near to what the page called it."""
    name = re.split(r"[/\\]", display_name)[-1]
    name = re.sub(r'[\x00-\x1f\x7f<>:"|?*]', "_", name).strip(" .")
    stem, dot, suffix = name.rpartition(".")
    while len(name.encode()) > _MAX_NAME_BYTES:
        if len(stem) > 1:
            stem = stem[:-1]
            name = stem + dot + suffix
        else:
            name = name[:-1]
    return name or fallback


def free_path(folder: Path, name: str) -> Path:
    """Return a path in the folder that nothing has yet: `name`, else `name (2)` and so on."""
    path = folder / name
    number = 2
    while path.exists():
        path = folder / f"{Path(name).stem} ({number}){Path(name).suffix}"
        number += 1
    return path


class Transfer:
    """One artifact's way into one file. `retries` bounds the attempts in a row that bring not one new byte."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        signed_url: SignedUrl,
        *,
        size: int,
        sha256: str,
        retries: Retries,
        progress: Progress | None = None,
    ) -> None:
        self._http = http
        self._signed_url = signed_url
        self._retries = retries
        self._size = size
        self._sha256 = sha256
        self._progress = progress
        self._received = 0
        self._sum = hashlib.sha256()

    async def into(self, path: Path) -> None:
        """Fetch the bytes; the file is there whole, or (after TransferFailed, or a cancel) not at all.

        An existing file is replaced. Raises TransferFailed, and OSError where the disk refuses.
        """
        part = path.with_name(f".{path.name[:80]}.{secrets.token_hex(4)}.part")
        try:
            # Bytes go to the disk in threads, so that a slow one does not hold up the caller's loop.
            with await asyncio.to_thread(part.open, "wb") as file:
                await self._fetch(file)
                await asyncio.to_thread(_flush, file)
            await asyncio.to_thread(part.replace, path)
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)

    async def _fetch(self, file: BinaryIO) -> None:
        fruitless = 0
        fault: Exception | None = None
        while self._received < self._size:
            if fruitless:
                if fruitless >= self._retries.attempts:
                    raise TransferFailed(
                        f"{self._received} of {self._size} bytes arrived, then: {fault}", reason="TRANSFER_CUT"
                    ) from fault
                await asyncio.sleep(self._retries.wait(fruitless))
            before = self._received
            try:
                await self._fetch_rest(file)
                fault = httpx.RemoteProtocolError("the stream ended early")
            except (httpx.TransportError, _Refused) as error:
                fault = error
            fruitless = 0 if self._received > before else fruitless + 1
        if self._received != self._size or self._sum.hexdigest() != self._sha256:
            raise TransferFailed("the bytes that arrived are not the bytes that were stored", reason="TRANSFER_CORRUPT")

    async def _fetch_rest(self, file: BinaryIO) -> None:
        # A new URL each time: the one before may have expired meanwhile.
        url = await self._signed_url()
        headers = {"accept-encoding": "identity"}
        if self._received:
            headers["range"] = f"bytes={self._received}-"
        async with self._http.stream("GET", url, headers=headers) as response:
            start = _start_of(response)
            if start == 0 and self._received:
                await asyncio.to_thread(_rewind, file)
                self._received, self._sum = 0, hashlib.sha256()
            elif start != self._received:
                raise _Refused(f"asked for bytes from {self._received}, got them from {start}")
            async for chunk in response.aiter_raw():
                await asyncio.to_thread(self._take, file, chunk)
                if self._received > self._size:
                    return
                if self._progress is not None:
                    self._progress(self._received, self._size)

    def _take(self, file: BinaryIO, chunk: bytes) -> None:
        file.write(chunk)
        self._sum.update(chunk)
        self._received += len(chunk)


def _without_signature(record: logging.LogRecord) -> bool:
    if isinstance(record.args, tuple):
        record.args = tuple(
            argument.copy_with(query=None)
            if isinstance(argument, httpx.URL) and b"ignature" in argument.query
            else argument
            for argument in record.args
        )
    return True


class _Refused(Exception):
    """The store answered with something else than the bytes."""


def _start_of(response: httpx.Response) -> int:
    if response.status_code == httpx.codes.OK:
        return 0
    found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    if response.status_code == httpx.codes.PARTIAL_CONTENT and found:
        return int(found[1])
    # Without the URL, which is a secret.
    raise _Refused(f"the store answered {response.status_code}")


def _rewind(file: BinaryIO) -> None:
    file.seek(0)
    file.truncate()


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())
