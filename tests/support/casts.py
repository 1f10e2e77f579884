"""A page that Chrome casts, a clock, and watchers, in memory."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

from browser_node.adapters.chromium.pictures.page_cast import PageCast
from browser_node.adapters.chromium.pictures.pictures import Picture, PictureWish, Rate

_WINDOW = 3
_DRAWING = 0.01


@dataclass
class FakeTimer:
    when: float
    callback: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeTimers:
    """Timers whose time a test moves."""

    def __init__(self) -> None:
        self._now = 100.0
        self._timers: list[FakeTimer] = []

    def time(self) -> float:
        return self._now

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(when, callback)
        self._timers.append(timer)
        return timer

    def step(self, seconds: float) -> None:
        """Let time pass, and what is due on the way happen."""
        end = self._now + seconds
        while due := [timer for timer in self._timers if timer.when <= end and not timer.cancelled]:
            timer = min(due, key=lambda timer: timer.when)
            self._timers.remove(timer)
            self._now = max(self._now, timer.when)
            timer.callback()
        self._now = end


class CastPage:
    """Chrome's side of a cast: at most three pictures without an acknowledgement, the rest is lost."""

    def __init__(self, timers: FakeTimers) -> None:
        self._timers = timers
        self.cast = PageCast(self._tell, timers)
        self.content = 0
        self.told: list[str] = []
        # Of each beginning.
        self.settings: list[dict[str, object]] = []
        self.sent = 0
        self._numbers = itertools.count(1)
        self._number: int | None = None
        self._under_way = 0
        self._due: FakeTimer | None = None

    @property
    def is_cast(self) -> bool:
        return self._number is not None

    def change(self) -> None:
        """The page looks different from now on."""
        self.content += 1
        self._draw()

    def _tell(self, method: str, params: dict[str, object]) -> None:
        self.told.append(method.removeprefix("Page."))
        if method == "Page.startScreencast":
            self.settings.append(params)
            self._number, self._under_way = next(self._numbers), 0
            self._draw()
        elif method == "Page.stopScreencast":
            self._number = None
        elif params["sessionId"] == self._number:
            self._under_way -= 1

    def _draw(self) -> None:
        if self._number is not None and self._under_way < _WINDOW and (self._due is None or self._due.cancelled):
            self._due = self._timers.call_at(self._timers.time() + _DRAWING, self._send)

    def _send(self) -> None:
        self._due = None
        if self._number is not None:
            self._under_way += 1
            self.sent += 1
            self.cast.came(a_picture(self.content), self._number)


@dataclass(eq=False)
class FakeWatcher:
    """Keeps what it is shown, at its rate; takes nothing while `blocked`."""

    timers: FakeTimers
    fps: float
    wish: PictureWish = PictureWish(1280, 720, 60)  # noqa: RUF009  # a value
    target_id: str | None = None
    blocked: bool = False
    seen: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rate = Rate(1 / self.fps)

    def due(self) -> float | None:
        return None if self.blocked else self._rate.next

    def show(self, picture: Picture) -> None:
        self._rate.happened(self.timers.time())
        self.seen.append((self.timers.time(), int(picture.jpeg)))

    @property
    def contents(self) -> list[int]:
        return [content for _, content in self.seen]


def a_picture(content: int, *, target_id: str = "T") -> Picture:
    return Picture(
        target_id=target_id,
        jpeg=b"%d" % content,
        taken_ms=0,
        page_width=1280,
        page_height=720,
        offset_top=0,
        page_scale=1,
    )
