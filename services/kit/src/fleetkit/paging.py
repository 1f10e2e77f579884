"""Keyset paging: a page is a size and the key of the last row of the page before."""

import base64
import hashlib
import hmac
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from fleetkit.errors import InvalidArgument

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

T = TypeVar("T")
U = TypeVar("U")


class InvalidPageToken(InvalidArgument):
    """The token is not ours, or belongs to another query."""

    reason = "INVALID_PAGE_TOKEN"


@dataclass(frozen=True, slots=True, kw_only=True)
class PageRequest:
    """How many rows, after which key (None: from the start)."""

    size: int = DEFAULT_PAGE_SIZE
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Rows, and the key of the last one when there are more."""

    items: list[T]
    next_after: str | None = None

    def map(self, convert: Callable[[T], U]) -> "Page[U]":
        return Page(items=[convert(item) for item in self.items], next_after=self.next_after)


class PageTokens:
    """Opaque page tokens, signed, and tied to the query that they continue."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hashlib.sha256(b"page-token" + secret).digest()

    def request(self, *, page_size: int, page_token: str, query: str) -> PageRequest:
        """Read what a caller sent: 0 means the default size, too large a size is reduced.

        Raises InvalidPageToken for a token that was not made by `token` for this query.
        """
        size = min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        if not page_token:
            return PageRequest(size=size)
        return PageRequest(size=size, after=self.verified(page_token, query=query))

    def token(self, page: Page[T], *, query: str) -> str:
        """Return the token of the page after `page`; empty when that was the last."""
        return "" if page.next_after is None else self.sign(page.next_after, query=query)

    def sign(self, text: str, *, query: str) -> str:
        """Return `text` as an opaque token that is good for this query only."""
        return base64.urlsafe_b64encode(self._signature(text.encode(), query) + text.encode()).decode()

    def verified(self, token: str, *, query: str) -> str:
        """Return the text that `sign` made this token of. Raises InvalidPageToken."""
        try:
            raw = base64.urlsafe_b64decode(token.encode())
        except ValueError as error:
            raise InvalidPageToken("The page token is not one of ours.") from error
        signature, text = raw[:16], raw[16:]
        if not hmac.compare_digest(signature, self._signature(text, query)):
            raise InvalidPageToken("The page token is not one of ours, or belongs to another query.")
        return text.decode()

    def _signature(self, text: bytes, query: str) -> bytes:
        return hmac.digest(self._secret, query.encode() + b"\0" + text, "sha256")[:16]
