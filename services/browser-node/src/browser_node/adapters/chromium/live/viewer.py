"""One viewer of a browser: it takes pictures as fast as it says it can, and asks for things."""

import asyncio
from collections import deque
from datetime import timedelta
from typing import Protocol

from browser_node.adapters.chromium.live import messages as live
from browser_node.adapters.chromium.live.input import InputRefused
from browser_node.adapters.chromium.live.tabs import Event
from browser_node.adapters.chromium.pictures.pictures import Picture, PictureWish, Rate
from browser_node.usecases.ports import ViewerSocket

DEFAULT_QUALITY = live.Quality(fps=10)
# Pictures on their way to a viewer; it gets the next one when it has acknowledged one of them.
MOST_UNDER_WAY = 2
# A viewer that acknowledges nothing for so long has gone, or might as well.
_PATIENCE = timedelta(seconds=60)
# Messages a second, and how many at once; one that sends faster is read more slowly.
_MESSAGE_RATE, _MESSAGE_BURST = 300.0, 300.0
_MAX_MESSAGE_BYTES = 1 << 20

# WebSocket close codes (RFC 6455).
_TOO_BIG, _TRY_AGAIN_LATER = 1009, 1013


class Host(Protocol):
    """The view that a viewer belongs to."""

    def tab_of(self, target_id: str) -> int: ...

    def watch(self, viewer: "LiveViewer", tab: int | None) -> None:
        """Raises InputRefused."""
        ...

    def turn(self, viewer: "LiveViewer") -> None:
        """It takes pictures again."""
        ...

    def ask(self, viewer: "LiveViewer", command: live.ControlCommand) -> None:
        """Raises InputRefused."""
        ...

    def gone(self, viewer: "LiveViewer") -> None: ...


class LiveViewer:
    """A Watcher of the pictures and a ViewerConnection of the socket.

    `generation` is that of a control lease; who acknowledges nothing within `patience` is closed.
    """

    def __init__(
        self, *, host: Host, socket: ViewerSocket, generation: int | None, patience: timedelta = _PATIENCE
    ) -> None:
        self._host = host
        self._socket = socket
        self.generation = generation
        self.target_id: str | None = None
        self.wish = PictureWish(DEFAULT_QUALITY.width, DEFAULT_QUALITY.height, DEFAULT_QUALITY.quality)
        self._rate = Rate(1 / DEFAULT_QUALITY.fps)
        self._sequence = 0
        # Number and time of each picture that is not acknowledged.
        self._under_way: deque[tuple[int, float]] = deque()
        self._loop = asyncio.get_running_loop()
        self._patience = patience.total_seconds()
        self._watchdog: asyncio.TimerHandle | None = None
        self._reads_on: asyncio.TimerHandle | None = None
        self._allowance, self._counted = _MESSAGE_BURST, self._loop.time()
        self._left = False

    # ---- pictures

    def due(self) -> float | None:
        return None if len(self._under_way) >= MOST_UNDER_WAY else self._rate.next

    def show(self, picture: Picture) -> None:
        now = self._loop.time()
        self._rate.happened(now)
        self._sequence += 1
        tab = self._host.tab_of(picture.target_id)
        try:
            header = live.frame_header(picture, seq=self._sequence, tab=tab)
        except ValueError:
            return
        self._under_way.append((self._sequence, now))
        if self._watchdog is None:
            self._watch_out()
        self._socket.send_picture(header + picture.jpeg)

    def _watch_out(self) -> None:
        self._watchdog = None
        if self._left or not self._under_way:
            return
        give_up = self._under_way[0][1] + self._patience
        if self._loop.time() >= give_up:
            self.close(_TRY_AGAIN_LATER, "acknowledges nothing")
            return
        self._watchdog = self._loop.call_at(give_up, self._watch_out)

    # ---- what it says

    def receive(self, message: bytes) -> None:
        """Take one message; what cannot be done is answered with the event `error`."""
        if self._left:
            return
        if len(message) > _MAX_MESSAGE_BYTES:
            self.close(_TOO_BIG, "message too big")
            return
        self._slow_down()
        try:
            self._do(live.parse_command(message))
        except live.WrongCommand as error:
            self.refuse(InputRefused("invalid_command", str(error)))
        except InputRefused as error:
            self.refuse(error)

    def _do(self, command: live.LiveCommand) -> None:
        match command:
            case live.Ack():
                while self._under_way and self._under_way[0][0] <= command.seq:
                    self._under_way.popleft()
                self._host.turn(self)
            case live.Watch():
                self._host.watch(self, command.tab)
            case live.Quality():
                self.wish = PictureWish(command.width, command.height, command.quality)
                self._rate.interval = 1 / command.fps
                self._rate.next = min(self._rate.next, self._loop.time() + self._rate.interval)
                self._host.turn(self)
            case _:
                self._host.ask(self, command)

    def _slow_down(self) -> None:
        now = self._loop.time()
        self._allowance = min(_MESSAGE_BURST, self._allowance + (now - self._counted) * _MESSAGE_RATE) - 1
        self._counted = now
        if self._allowance < 0:
            self._socket.pause_reading()
            if self._reads_on is not None:
                self._reads_on.cancel()
            wait = -self._allowance / _MESSAGE_RATE
            self._reads_on = self._loop.call_later(wait, self._socket.resume_reading)

    # ---- what it is told

    def tell(self, event: Event) -> None:
        if not self._left:
            self._socket.send_event(live.encode_event(event))

    def refuse(self, error: InputRefused) -> None:
        self.tell({"type": "error", "code": error.code, "message": str(error)})

    # ---- its end

    def close(self, code: int, reason: str) -> None:
        """Close its socket, and forget it."""
        self._socket.close(code, reason)
        self.leave()

    def leave(self) -> None:
        """Its socket is gone."""
        if self._left:
            return
        self._left = True
        if self._watchdog is not None:
            self._watchdog.cancel()
        self._host.gone(self)
