"""Pictures of pages, and who watches them."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from browser_node.adapters.chromium.pictures.jpeg import jpeg_size


@dataclass(frozen=True, kw_only=True)
class Picture:
    """What a page looked like. Sizes are in CSS pixels of the page at scale 1, `taken_ms` is Unix time."""

    target_id: str
    jpeg: bytes
    taken_ms: int
    page_width: float
    page_height: float
    # What the browser draws above the page, inside the picture.
    offset_top: float
    # Pinch zoom: the page shows a part of itself, this many times larger.
    page_scale: float

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels. Raises ValueError when it is no JPEG."""
        return jpeg_size(self.jpeg)

    def looks_like(self, other: "Picture") -> bool:
        """Tell whether nobody could tell them apart."""
        return (self.jpeg, self.page_width, self.page_height, self.page_scale) == (
            other.jpeg,
            other.page_width,
            other.page_height,
            other.page_scale,
        )

    def to_page(self, x: float, y: float) -> tuple[float, float]:
        """Return where in the page, as CDP's input counts, a point of the picture is; `x` and `y` go from 0 to 1."""
        left = x * self.page_width / self.page_scale
        return left, max(0.0, (y * self.page_height - self.offset_top) / self.page_scale)


@dataclass(frozen=True, slots=True)
class PictureWish:
    """Largest size in pixels, and JPEG quality, that somebody wants. Of several wishes the largest holds for all."""

    width: int
    height: int
    quality: int

    def joined(self, other: "PictureWish") -> "PictureWish":
        """Return what satisfies both."""
        return PictureWish(
            max(self.width, other.width), max(self.height, other.height), max(self.quality, other.quality)
        )


class Watcher(Protocol):
    """Somebody who looks at a browser: a viewer or a recording."""

    @property
    def wish(self) -> PictureWish: ...

    @property
    def target_id(self) -> str | None:
        """The page to look at; None: whichever is shown or was used last."""
        ...

    def due(self) -> float | None:
        """Return from when on it takes another picture, by the loop's clock.

        None: not before it has asked for its turn (`Screencast.turn`).
        """
        ...

    def show(self, picture: Picture) -> None:
        """Take a picture. Must not block or raise."""
        ...


class Rate:
    """Spaces out what happens so that it keeps a rate: one late picture does not make all that follow late."""

    def __init__(self, interval: float) -> None:
        self.interval = interval
        self.next = 0.0

    def happened(self, now: float) -> None:
        self.next = max(self.next + self.interval, now + self.interval / 2)
