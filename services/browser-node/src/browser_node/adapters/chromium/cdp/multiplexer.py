"""Many CDP clients on the one pipe of a browser.

Every client gets a root session of its own: browser-level (`Target.attachToBrowserTarget`), or that of a page. Its
commands get IDs of ours, answers get its IDs back, and events go to whoever owns the session that they carry. To a
client the browser looks as if it were its own connection: commands without a session go to its root session, and that
session's ID is taken off what comes back. Sessions of others look as if they did not exist.

What clients of one browser share is what Chrome's own port lets them share: pages, contexts, cookies, and the events
of targets. One session is one tenant; what is private is what belongs to a connection: sessions, answers, events.

Messages are Chrome's own serialisation on the way out: `{"id":N,…}` for answers, `,"sessionId":"<32 hex>"}` at the
end wherever there is a session. The quick paths below rest on that and fall back to decoding.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

log = logging.getLogger(__name__)

_SESSION_MARK = b',"sessionId":"'
# Length of `,"sessionId":"`, 32 characters, `"}`; and where the ID begins in it, from the end.
_TAIL = len(_SESSION_MARK) + 34
# Chrome takes IDs of 31 bits.
_LAST_ID = 0x7FFF_FFFF

# A client that has so many commands under way is not read before half of them are answered.
MOST_PENDING = 4096

Observer = Callable[[bytes], None]


class Command(msgspec.Struct, omit_defaults=True, gc=False):
    """A command as a client sends it and as it is written anew; other members are dropped."""

    id: int
    method: str
    params: msgspec.Raw = msgspec.Raw(b"{}")
    sessionId: str | None = None  # noqa: N815  # the protocol's name


class _Head(msgspec.Struct, gc=False):
    id: int | None = None
    method: str | None = None
    sessionId: str | None = None  # noqa: N815  # the protocol's name


class _TargetInfo(msgspec.Struct, frozen=True, gc=False):
    targetId: str = ""  # noqa: N815  # the protocol's name


class _TargetParams(msgspec.Struct, gc=False):
    sessionId: str = ""  # noqa: N815  # the protocol's name
    targetInfo: _TargetInfo = _TargetInfo()  # noqa: N815  # the protocol's name
    waitingForDebugger: bool = False  # noqa: N815  # the protocol's name


class _TargetEvent(msgspec.Struct, gc=False):
    params: _TargetParams
    sessionId: str | None = None  # noqa: N815  # the protocol's name


class _Error(msgspec.Struct, gc=False):
    message: str = ""
    code: int = 0


class _Reply(msgspec.Struct, gc=False):
    # The result of any command: its shape is the caller's business.
    result: dict[str, Any] | None = None
    error: _Error | None = None


decode_command = msgspec.json.Decoder(Command).decode
encode = msgspec.json.Encoder().encode
_decode_head = msgspec.json.Decoder(_Head).decode
_decode_target_event = msgspec.json.Decoder(_TargetEvent).decode
_decode_reply = msgspec.json.Decoder(_Reply).decode


class CdpError(Exception):
    """The browser answered a command of the node with an error, or has ended."""


class Endpoint(Protocol):
    """Who owns sessions in the browser and gets what belongs to them."""

    # `,"sessionId":"<own root session>"}`, or nothing before there is one.
    root_tail: bytes
    # Commands that were sent and not answered yet; the multiplexer counts.
    pending: int

    def deliver(self, message: bytes) -> None:
        """Take one message, in the client's own terms."""
        ...

    def pending_changed(self) -> None:
        """Told when `pending` passes MOST_PENDING upwards, and half of it downwards."""
        ...

    def root_ended(self) -> None:
        """The target that the root session speaks to is gone."""
        ...


@dataclass(slots=True)
class Child:
    """A session that speaks to a target."""

    target_id: str
    # Its target was stopped at its start for this session, and may still wait for it.
    starts_paused: bool
    # Its owner is a client that is told of dialogs, and can answer them.
    answers_dialogs: bool = False


# Who asked, its own ID of the command, its session (None: its root), who else wants to see the answer.
_Pending = tuple[Endpoint, bytes, str | None, Observer | None]


class _Caller:
    """The endpoint of the node's own commands outside any session."""

    root_tail = b""

    def __init__(self, future: "asyncio.Future[bytes]") -> None:
        self._future = future
        self.pending = 0

    def deliver(self, message: bytes) -> None:
        if not self._future.done():
            self._future.set_result(message)

    def pending_changed(self) -> None:
        pass

    def root_ended(self) -> None:
        pass


class _Nobody:
    """The endpoint of answers whose client has left."""

    root_tail = b""
    pending = 0

    def deliver(self, message: bytes) -> None:
        pass

    def pending_changed(self) -> None:
        pass

    def root_ended(self) -> None:
        pass


_NOBODY = _Nobody()


class Multiplexer:
    """Routes between a browser's pipe and the endpoints on it."""

    def __init__(self) -> None:
        self._write: Callable[[bytes], None] | None = None
        self._next_id = 0
        self._pending: dict[int, _Pending] = {}
        self._owners: dict[bytes, Endpoint] = {}
        self._children: dict[bytes, Child] = {}
        # Grows with every message of the browser: whoever looks twice sees whether it lives.
        self.messages_seen = 0
        # Monotonic seconds of the last command of a client; the node's own do not count.
        self.last_input = time.monotonic()

    def open(self, write: Callable[[bytes], None]) -> None:
        """Begin to write to the browser, message by message. `write` raises RuntimeError when that is over."""
        self._write = write

    # ---- towards the browser

    def submit(self, endpoint: Endpoint, command: Command, root: str | None, observer: Observer | None = None) -> None:
        """Send a command on behalf of an endpoint; its answer is delivered there under the command's present ID."""
        if self._write is None:
            endpoint.deliver(error_reply(b"%d" % command.id, -32000, "the browser has ended", command.sessionId))
            return
        own_id, their_id, session_id = self._new_id(), command.id, command.sessionId
        self._pending[own_id] = (endpoint, b"%d" % their_id, session_id, observer)
        endpoint.pending += 1
        if endpoint.pending == MOST_PENDING:
            endpoint.pending_changed()
        command.id = own_id
        if session_id is None:
            command.sessionId = root
        try:
            self._write(encode(command))
        except RuntimeError:
            # The browser has gone, and the pipe's other end has not been read to its end yet.
            del self._pending[own_id]
            endpoint.pending -= 1
            endpoint.deliver(error_reply(b"%d" % their_id, -32000, "the browser has ended", session_id))

    async def call(self, method: str, params: dict[str, object] | None = None) -> dict[str, Any]:
        """Run a command of the node outside any session and return its result. Raises CdpError."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        command = Command(0, method, msgspec.Raw(encode(params or {})))
        self.submit(_Caller(future), command, None)
        return result_of(await future)

    def _new_id(self) -> int:
        while True:
            self._next_id = self._next_id % _LAST_ID + 1
            if self._next_id not in self._pending:
                return self._next_id

    # ---- from the browser

    def message(self, message: bytes) -> None:
        """Route one message of the browser."""
        self.messages_seen += 1
        if message.startswith(b'{"id":'):
            comma = message.index(b",", 6)
            self._answer(int(message[6:comma]), message, comma)
            return
        owner = self._owner_of(message)
        if owner is None:
            return
        if message.startswith(b'{"method":"Target.'):
            self._track(owner, message)
        if message.endswith(owner.root_tail):
            message = message[: -len(owner.root_tail)] + b"}"
        owner.deliver(message)

    def _answer(self, own_id: int, message: bytes, comma: int) -> None:
        pending = self._pending.pop(own_id, None)
        if pending is None:
            return
        endpoint, their_id, session_id, observer = pending
        endpoint.pending -= 1
        if endpoint.pending == MOST_PENDING // 2:
            endpoint.pending_changed()
        if observer is not None:
            observer(message)
        if session_id is None and endpoint.root_tail and message.endswith(endpoint.root_tail):
            endpoint.deliver(b'{"id":' + their_id + message[comma : -len(endpoint.root_tail)] + b"}")
        else:
            endpoint.deliver(b'{"id":' + their_id + message[comma:])

    def _owner_of(self, message: bytes) -> Endpoint | None:
        if message[-_TAIL:-34] == _SESSION_MARK:
            return self._owners.get(message[-34:-2])
        # An event of the pipe itself, or a form that Chrome does not write today.
        try:
            head = _decode_head(message)
        except msgspec.DecodeError:
            log.warning("the browser sent what is no CDP message")
            return None
        if head.sessionId:
            return self._owners.get(head.sessionId.encode())
        if head.method == "Target.detachedFromTarget":
            self._end_root(_decode_target_event(message).params.sessionId.encode())
        return None

    def _track(self, owner: Endpoint, message: bytes) -> None:
        """Follow sessions that come and go below an endpoint's own."""
        if message.startswith(b'{"method":"Target.attachedToTarget"'):
            params = _decode_target_event(message).params
            self._owners[params.sessionId.encode()] = owner
            self._children[params.sessionId.encode()] = Child(params.targetInfo.targetId, params.waitingForDebugger)
        elif message.startswith(b'{"method":"Target.detachedFromTarget"'):
            session_id = _decode_target_event(message).params.sessionId.encode()
            self._owners.pop(session_id, None)
            self._children.pop(session_id, None)

    def _end_root(self, root: bytes) -> None:
        endpoint = self._owners.pop(root, None)
        if endpoint is not None:
            endpoint.root_ended()

    # ---- endpoints

    async def open_root(self, endpoint: Endpoint, target_id: str | None = None) -> str:
        """Make the root session of an endpoint, browser-level or that of a target, and return its ID.

        Raises CdpError.
        """
        if target_id is None:
            result = await self.call("Target.attachToBrowserTarget")
        else:
            result = await self.call("Target.attachToTarget", {"targetId": target_id, "flatten": True})
        root = str(result["sessionId"])
        endpoint.root_tail = _SESSION_MARK + root.encode() + b'"}'
        self._owners[root.encode()] = endpoint
        if target_id is not None:
            self._children[root.encode()] = Child(target_id, starts_paused=False)
        return root

    def owns(self, endpoint: Endpoint, session_id: str) -> bool:
        """Tell whether a session is an endpoint's."""
        return self._owners.get(session_id.encode()) is endpoint

    def target_of(self, session_id: str) -> str | None:
        """Return the target that a session speaks to."""
        child = self._children.get(session_id.encode())
        return child.target_id if child is not None else None

    def children_of(self, endpoint: Endpoint) -> dict[str, Child]:
        """Return the sessions of an endpoint that speak to a target, by ID."""
        return {key.decode(): child for key, child in self._children.items() if self._owners.get(key) is endpoint}

    def answers_dialogs(self, session_id: str) -> None:
        """A client is told of the dialogs of a page from now on."""
        child = self._children.get(session_id.encode())
        if child is not None:
            child.answers_dialogs = True

    def has_answerer(self, target_id: str, *, besides: Endpoint) -> bool:
        """Tell whether another client can answer the dialogs of a page."""
        return any(
            child.answers_dialogs and child.target_id == target_id and self._owners.get(key) is not besides
            for key, child in self._children.items()
        )

    def forget(self, endpoint: Endpoint, root: str | None) -> None:
        """An endpoint leaves: end its root session, and with it every session below."""
        for session_id in [key for key, owner in self._owners.items() if owner is endpoint]:
            del self._owners[session_id]
            self._children.pop(session_id, None)
        # Answers that only the client waits for are dropped; one that somebody observes still has to be seen.
        for own_id, (asker, their_id, session, observer) in list(self._pending.items()):
            if asker is endpoint:
                self._pending[own_id] = (_NOBODY, their_id, session, observer)
        if root is not None:
            self.tell("Target.detachFromTarget", {"sessionId": root})

    def tell(self, method: str, params: dict[str, object], session_id: str | None = None) -> None:
        """Send a command of the node, in any session or outside of all; nobody waits for the answer."""
        self.submit(_NOBODY, Command(0, method, msgspec.Raw(encode(params)), session_id), None)

    def ask(self, command: Command, observer: Observer) -> None:
        """Send a command of the node outside any session; its answer goes to the observer."""
        self.submit(_NOBODY, command, None, observer)

    def end(self, why: str) -> None:
        """The browser has ended, or is about to: answer everything that still waits with an error."""
        self._write = None
        for endpoint, their_id, session_id, _ in list(self._pending.values()):
            endpoint.pending -= 1
            with contextlib.suppress(Exception):
                endpoint.deliver(error_reply(their_id, -32000, why, session_id))
        self._pending.clear()
        self._owners.clear()
        self._children.clear()


def error_reply(their_id: bytes, code: int, text: str, session_id: str | None) -> bytes:
    """Build an error answer as Chrome writes it."""
    tail = b"" if session_id is None else b',"sessionId":' + encode(session_id)
    return b'{"id":%b,"error":{"code":%d,"message":%b}%b}' % (their_id, code, encode(text), tail)


def result_of(reply: bytes) -> dict[str, Any]:
    """Return the result in an answer. Raises CdpError when it holds an error."""
    decoded = _decode_reply(reply)
    if decoded.error is not None:
        raise CdpError(decoded.error.message)
    return decoded.result or {}
