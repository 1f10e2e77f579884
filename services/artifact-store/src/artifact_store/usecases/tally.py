"""Counting and summing bytes as they pass."""

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

from artifact_store.domain.errors import ArtifactTooLarge, UploadCorrupt


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobSum:
    """How many bytes, and their lower-case hexadecimal SHA-256."""

    size_bytes: int
    sha256: str


class Tally:
    """Sums what passes through it."""

    def __init__(self) -> None:
        self._size = 0
        self._hash = hashlib.sha256()

    @property
    def sum(self) -> BlobSum:
        return BlobSum(size_bytes=self._size, sha256=self._hash.hexdigest())

    async def passing(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            self._add(chunk)
            yield chunk

    async def verified(self, parts: AsyncIterator[bytes | BlobSum], *, limit_bytes: int) -> AsyncGenerator[bytes, None]:
        """Pass the bytes on; the last part is the sum that the sender made.

        Raises UploadCorrupt when that sum is missing or wrong, before the stream ends: so whoever stores the stream
        never sees the end of a broken one. Raises ArtifactTooLarge past `limit_bytes`.
        """
        async for part in parts:
            if isinstance(part, BlobSum):
                if part != self.sum:
                    raise UploadCorrupt("The bytes that arrived do not have the announced size and SHA-256.")
                return
            self._add(part)
            if self._size > limit_bytes:
                raise ArtifactTooLarge(
                    f"An artifact may have {limit_bytes} bytes at most.", limit_bytes=str(limit_bytes)
                )
            yield part
        raise UploadCorrupt("The upload ended without its sum.")

    def _add(self, chunk: bytes) -> None:
        self._size += len(chunk)
        self._hash.update(chunk)
