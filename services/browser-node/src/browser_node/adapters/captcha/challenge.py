"""Captchas as the node sees them, and what came of them."""

import base64
import binascii
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated
from urllib.parse import urlsplit

import msgspec


class ChallengeKind(StrEnum):
    """The captchas that are recognised."""

    IMAGE = "image"
    RECAPTCHA_V2 = "recaptcha-v2"
    HCAPTCHA = "hcaptcha"
    TURNSTILE = "turnstile"


_SITE_KEY = re.compile(r"[A-Za-z0-9_.-]{8,128}")
_MAX_IMAGE = 256 << 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """What a solver is asked. `page_url` has neither query nor fragment: they may hold secrets, and say nothing here."""

    kind: ChallengeKind
    page_url: str
    site_key: str = ""
    image: bytes = b""

    @property
    def host(self) -> str:
        """For the log."""
        return urlsplit(self.page_url).hostname or ""


class NotSolved(Exception):
    """There is no answer to a challenge; the message is a word to log and to count it under."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """What the script in a page reports. A page has a hand in all of it."""

    number: int
    kind: ChallengeKind
    origin: Annotated[str, msgspec.Meta(max_length=300)]
    path: Annotated[str, msgspec.Meta(max_length=4000)]
    siteKey: Annotated[str, msgspec.Meta(max_length=200)] = ""  # noqa: N815  # the script's name
    image: Annotated[str, msgspec.Meta(max_length=_MAX_IMAGE * 2)] = ""

    def challenge(self) -> Challenge:
        """Return what to ask. Raises ValueError when it is none."""
        if not self.origin.startswith(("http://", "https://")) or not self.path.startswith("/"):
            raise ValueError("no address")
        page_url = self.origin + re.split(r"[?#]", self.path, maxsplit=1)[0]
        if not urlsplit(page_url).hostname:
            raise ValueError("no host")
        if self.kind is ChallengeKind.IMAGE:
            return Challenge(kind=self.kind, page_url=page_url, image=_image(self.image))
        if not _SITE_KEY.fullmatch(self.siteKey):
            raise ValueError("no site key")
        return Challenge(kind=self.kind, page_url=page_url, site_key=self.siteKey)


def _image(data_url: str) -> bytes:
    prefix, _, encoded = data_url.partition(",")
    if prefix != "data:image/png;base64":
        raise ValueError("no image")
    try:
        image = base64.b64decode(encoded, validate=True)
    except binascii.Error as error:
        raise ValueError("no image") from error
    if not image or len(image) > _MAX_IMAGE:
        raise ValueError("no image")
    return image
