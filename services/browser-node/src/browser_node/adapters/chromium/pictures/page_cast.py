"""The pictures of one page: as many as its watchers take, and none that nobody takes.

Chrome begins a cast with the page as it looks now, then sends a picture of each change, and stops while some are not
acknowledged. Acknowledging is what paces a cast, but holding acknowledgements back hardly spares the browser anything:
it goes on drawing for the cast. So a cast is stopped whenever the next picture is wanted only later, and begun again
then; measured at 5 pictures a second of a moving page, that adds half of what a paced cast adds. A still page is cast
without a break, which costs nothing, and tells at once when it moves.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from browser_node.adapters.chromium.pictures.pictures import Picture, PictureWish, Watcher

# Below this wait stopping and beginning anew costs more than going on: it pays up to about 12 pictures a second.
_WORTH_A_STOP = 0.08
# Waits are not exact; a picture that comes this little too early is not sent back.
_SLACK = 0.004
# So many pictures without an acknowledgement, and Chrome may be holding back what the page looks like now.
_FULL = 2
# After an acknowledgement a moving page's next picture comes within this time.
_PATIENCE = 0.1


# A page that would not begin is tried again after this time.
_RETRY = 0.1


class Timer(Protocol):
    def cancel(self) -> None: ...


class Timers(Protocol):
    """The part of an event loop that pacing needs."""

    def time(self) -> float: ...

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer: ...


class PageCast:
    """One page's cast; `tell` sends a command to the page."""

    def __init__(self, tell: Callable[[str, dict[str, object]], None], timers: Timers | None = None) -> None:
        self._tell = tell
        self._timers: Timers = timers or asyncio.get_running_loop()
        # What each watcher saw last.
        self._seen: dict[Watcher, Picture | None] = {}
        self._timer: Timer | None = None
        self._casting: PictureWish | None = None
        # Chrome numbers casts, and tells the number with each picture; pictures of a cast that was stopped may come late.
        self._number = -1
        self._stopped_number = -1
        self._held = 0
        self._began = False
        # Counts the beginnings.
        self._attempt = 0
        # When a picture was last made room for; it has not come since.
        self._asked: float | None = None
        self.latest: Picture | None = None

    @property
    def is_casting(self) -> bool:
        """Whether pictures are expected."""
        return self._casting is not None

    @property
    def has_watchers(self) -> bool:
        return bool(self._seen)

    def add(self, watcher: Watcher) -> None:
        self._seen[watcher] = None
        self.turn()

    def remove(self, watcher: Watcher) -> None:
        if watcher in self._seen:
            del self._seen[watcher]
            self.turn()

    def peek(self, wish: PictureWish) -> None:
        """Cast once without watchers: for a first picture, and to hear of a hidden page that it is shown."""
        if self._casting is None:
            self._begin(wish)

    def renew(self) -> None:
        """What came so far may be out of date: begin anew, for watchers only."""
        self._stop()
        self.turn()

    def refused(self) -> None:
        """The page would not begin: it was on its way to another address. Try again, if that is still wanted."""
        attempt = self._attempt
        self._timers.call_at(self._timers.time() + _RETRY, lambda: self._try_again(attempt))

    def _try_again(self, attempt: int) -> None:
        wish = self._casting
        if wish is None or attempt != self._attempt:
            return
        self._casting = None
        if self._seen:
            self.turn()
        else:
            self._begin(wish)

    def close(self) -> None:
        """The page has gone."""
        self._cancel_timer()
        self._seen.clear()
        self._casting = None

    def came(self, picture: Picture, number: int) -> None:
        """Take a picture of the cast with this number."""
        if self._casting is None or number <= self._stopped_number:
            return
        first, self._began = not self._began, True
        self._number = number
        self._held += 1
        self._asked = None
        still = first and self.latest is not None and picture.looks_like(self.latest)
        if not still:
            self.latest = picture
        self._show()
        if still:
            # Nothing has moved since the last cast: go on until something does.
            self._acknowledge(self._held)
            self._wake_for_the_rest()
        elif self._seen:
            self.turn()

    def turn(self) -> None:
        """A watcher came or went, wishes something else, or takes pictures again."""
        self._cancel_timer()
        dues = [due for due in (watcher.due() for watcher in self._seen) if due is not None]
        if not dues:
            self._stop()
            return
        if self._casting is not None and self._casting != self._wish():
            self._stop()
        wait = min(dues) - self._timers.time()
        if wait > _SLACK:
            if wait > _WORTH_A_STOP and self._began:
                self._stop()
            self._wake_at(min(dues))
        elif self._casting is None:
            self._begin(self._wish())
        else:
            self._go_on()

    def _go_on(self) -> None:
        """Somebody is due, and the cast runs."""
        now = self._timers.time()
        if self._held < _FULL and self._asked is None:
            # Chrome holds nothing back: the latest picture is what the page looks like now.
            self._acknowledge(self._held)
            if self._show():
                self.turn()
            else:
                self._wake_for_the_rest()
        elif self._asked is None:
            self._acknowledge(1)
            self._asked = now
            self._wake_at(now + _PATIENCE)
        elif now < self._asked + _PATIENCE - _SLACK:
            self._wake_at(self._asked + _PATIENCE)
        else:
            # The page stopped moving while pictures were held back: see what it looks like.
            self.renew()

    def _show(self) -> bool:
        """Show the latest picture to all who are due and have not seen it; tell whether there was anybody."""
        latest, now = self.latest, self._timers.time() + _SLACK
        if latest is None:
            return False
        shown = False
        for watcher, seen in list(self._seen.items()):
            due = watcher.due()
            if seen is not latest and due is not None and due <= now:
                self._seen[watcher] = latest
                watcher.show(latest)
                shown = True
        return shown

    def _wake_for_the_rest(self) -> None:
        """The page is still; those who have not seen it yet get it when they are due."""
        dues = [watcher.due() for watcher, seen in self._seen.items() if seen is not self.latest]
        coming = [due for due in dues if due is not None]
        if coming:
            self._wake_at(min(coming))

    def _wish(self) -> PictureWish:
        first, *others = (watcher.wish for watcher in self._seen)
        for other in others:
            first = first.joined(other)
        return first

    def _begin(self, wish: PictureWish) -> None:
        self._casting, self._began, self._held, self._asked = wish, False, 0, None
        self._attempt += 1
        settings: dict[str, object] = {
            "format": "jpeg",
            "quality": wish.quality,
            "maxWidth": wish.width,
            "maxHeight": wish.height,
        }
        self._tell("Page.startScreencast", settings)

    def _stop(self) -> None:
        if self._casting is not None:
            self._casting, self._asked = None, None
            self._stopped_number = self._number
            self._tell("Page.stopScreencast", {})

    def _acknowledge(self, count: int) -> None:
        for _ in range(count):
            self._tell("Page.screencastFrameAck", {"sessionId": self._number})
        self._held -= count

    def _wake_at(self, when: float) -> None:
        self._cancel_timer()
        self._timer = self._timers.call_at(when, self.turn)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
