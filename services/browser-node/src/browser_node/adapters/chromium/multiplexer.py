"""Many CDP clients on the one pipe of a browser.

Every client gets a browser-level session of its own (`Target.attachToBrowserTarget`). Its commands get IDs of ours,
answers get its IDs back, and events go to whoever owns the session that they carry. To a client the browser looks as
if it were its own connection: commands without a session go to its browser-level session, and that session's ID is
taken off what comes back. Sessions of others look as if they did not exist.

Messages are Chrome's own serialisation on the way out: `{"id":N,…}` for answers, `,"sessionId":"<32 hex>"}` at the
end wherever there is a session. The quick paths below rest on that and fall back to decoding.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

log = logging.getLogger(__name__)

_SESSION_MARK = b',"sessionId":"'
# Length of `,"sessionId":"`, 32 characters, `"}`; and where the ID begins in it, from the end.
_TAIL = len(_SESSION_MARK) + 34
# Chrome takes IDs of 31 bits.
_LAST_ID = 0x7FFF_FFFF

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

    # `,"sessionId":"<own browser-level session>"}`, or nothing before there is one.
    root_tail: bytes

    def deliver(self, message: bytes) -> None:
        """Take one message, in the client's own terms."""
        ...


# Who asked, its own ID of the command, its session (None: its browser-level one), who else wants to see the answer.
_Pending = tuple[Endpoint, bytes, str | None, Observer | None]


class _Caller:
    """The endpoint of the node's own commands outside any session."""

    root_tail = b""

    def __init__(self, future: "asyncio.Future[bytes]") -> None:
        self._future = future

    def deliver(self, message: bytes) -> None:
        if not self._future.done():
            self._future.set_result(message)


class _Nobody:
    """The endpoint of answers whose client has left."""

    root_tail = b""

    def deliver(self, message: bytes) -> None:
        pass


_NOBODY = _Nobody()


class Multiplexer:
    """Routes between a browser's pipe and the endpoints on it."""

    def __init__(self) -> None:
        self._write: Callable[[bytes], None] | None = None
        self._next_id = 0
        self._pending: dict[int, _Pending] = {}
        self._owners: dict[bytes, Endpoint] = {}
        self._targets: dict[bytes, str] = {}
        # Grows with every message of the browser: whoever looks twice sees whether it lives.
        self.messages_seen = 0
        # Monotonic seconds of the last command of a client; the node's own do not count.
        self.last_input = time.monotonic()

    def open(self, write: Callable[[bytes], None]) -> None:
        """Begin to write to the browser."""
        self._write = write

    # ---- towards the browser

    def submit(self, endpoint: Endpoint, command: Command, root: str | None, observer: Observer | None = None) -> None:
        """Send a command on behalf of an endpoint; its answer is delivered there under the command's present ID."""
        if self._write is None:
            endpoint.deliver(error_reply(b"%d" % command.id, -32000, "the browser has ended", command.sessionId))
            return
        own_id, their_id, session_id = self._new_id(), command.id, command.sessionId
        self._pending[own_id] = (endpoint, b"%d" % their_id, session_id, observer)
        command.id = own_id
        if session_id is None:
            command.sessionId = root
        try:
            self._write(encode(command) + b"\0")
        except RuntimeError:
            # The browser has gone, and the pipe's other end has not been read to its end yet.
            del self._pending[own_id]
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
        return self._owners.get(head.sessionId.encode()) if head.sessionId else None

    def _track(self, owner: Endpoint, message: bytes) -> None:
        """Follow sessions that come and go below an endpoint's own."""
        if message.startswith(b'{"method":"Target.attachedToTarget"'):
            params = _decode_target_event(message).params
            self._owners[params.sessionId.encode()] = owner
            self._targets[params.sessionId.encode()] = params.targetInfo.targetId
        elif message.startswith(b'{"method":"Target.detachedFromTarget"'):
            session_id = _decode_target_event(message).params.sessionId.encode()
            self._owners.pop(session_id, None)
            self._targets.pop(session_id, None)

    # ---- endpoints

    async def open_root(self, endpoint: Endpoint) -> str:
        """Make a browser-level session for an endpoint and return its ID. Raises CdpError."""
        result = await self.call("Target.attachToBrowserTarget")
        root = str(result["sessionId"])
        endpoint.root_tail = _SESSION_MARK + root.encode() + b'"}'
        self._owners[root.encode()] = endpoint
        return root

    def owns(self, endpoint: Endpoint, session_id: str) -> bool:
        """Tell whether a session is an endpoint's."""
        return self._owners.get(session_id.encode()) is endpoint

    def target_of(self, session_id: str) -> str | None:
        """Return the target that a session speaks to."""
        return self._targets.get(session_id.encode())

    def forget(self, endpoint: Endpoint, root: str | None) -> None:
        """An endpoint leaves: end its browser-level session, and with it every session below."""
        for session_id in [key for key, owner in self._owners.items() if owner is endpoint]:
            del self._owners[session_id]
            self._targets.pop(session_id, None)
        # Answers that only the client waits for are dropped; one that somebody observes still has to be seen.
        for own_id, (asker, their_id, session, observer) in list(self._pending.items()):
            if asker is endpoint:
                self._pending[own_id] = (_NOBODY, their_id, session, observer)
        if root is not None:
            self.tell("Target.detachFromTarget", {"sessionId": root})

    def tell(self, method: str, params: dict[str, object]) -> None:
        """Send a command of the node outside any session; nobody waits for the answer."""
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.submit(_Caller(future), Command(0, method, msgspec.Raw(encode(params))), None)

    def end(self, why: str) -> None:
        """The browser has ended, or is about to: answer everything that still waits with an error."""
        self._write = None
        for endpoint, their_id, session_id, _ in list(self._pending.values()):
            with contextlib.suppress(Exception):
                endpoint.deliver(error_reply(their_id, -32000, why, session_id))
        self._pending.clear()
        self._owners.clear()


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
