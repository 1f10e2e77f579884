"""A client's place on the multiplexer: its own session in the browser, behind the command filter."""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from browser_node.adapters.chromium import command_filter
from browser_node.adapters.chromium.command_filter import Answer, Refuse, SessionFolders
from browser_node.adapters.chromium.multiplexer import (
    CdpError,
    Command,
    Multiplexer,
    decode_command,
    encode,
    error_reply,
    result_of,
)
from browser_node.usecases.ports import CdpClient

# WebSocket close codes (RFC 6455).
NORMAL, INVALID_DATA = 1000, 1007
_ID_LIMIT = 1 << 53

# Commands that say which page a client is busy with. Automation makes every page believe that it is in front, so the
# browser itself cannot tell.
_ACTIONS = frozenset(
    {
        "Input.dispatchKeyEvent",
        "Input.dispatchMouseEvent",
        "Input.dispatchTouchEvent",
        "Input.insertText",
        "Page.bringToFront",
        "Page.navigate",
        "Page.reload",
    }
)


class InputLock(Protocol):
    """Says whether a person has control of the browser."""

    @property
    def is_held(self) -> bool: ...


class Connection:
    """One attached client. `on_leave` is called once, when it has left or was told to."""

    def __init__(
        self,
        *,
        multiplexer: Multiplexer,
        client: CdpClient,
        folders: SessionFolders,
        on_context: Callable[[str], None],
        on_action: Callable[[str], None],
        on_leave: Callable[["Connection"], None],
        control: InputLock,
    ) -> None:
        self._multiplexer = multiplexer
        self.client = client
        self._folders = folders
        self._on_context = on_context
        self._on_action = on_action
        self._on_leave = on_leave
        self._control = control
        self._root: str | None = None
        self._early: list[bytes] = []
        self._left = False
        # Contexts that Chrome does not dispose of by itself when this client is gone.
        self._contexts: set[str] = set()
        self.root_tail = b""
        self.deliver = client.send

    async def open(self) -> None:
        """Join the browser, then take what the client said meanwhile. Raises CdpError."""
        root = await self._multiplexer.open_root(self)
        if self._left:
            self._multiplexer.forget(self, root)
            return
        self._root = root
        early, self._early = self._early, []
        for message in early:
            self.receive(message)

    def receive(self, message: bytes) -> None:
        """Take one message of the client. One that is no command ends its stay."""
        root = self._root
        if root is None:
            if not self._left:
                self._early.append(message)
            return
        try:
            command = decode_command(message)
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            self._refuse_client("every message must be a JSON object with an integer id and a method")
            return
        if not -_ID_LIMIT < command.id < _ID_LIMIT:
            self._refuse_client("id is out of range")
            return
        self._multiplexer.last_input = time.monotonic()
        session_id = command.sessionId
        if session_id is not None and not self._multiplexer.owns(self, session_id):
            self.deliver(error_reply(b"%d" % command.id, -32001, "Session with given id not found.", None))
            return
        if self._control.is_held and _is_input(command):
            text = "A person has control of the browser: input is refused until it is handed back."
            self.deliver(error_reply(b"%d" % command.id, -32000, text, session_id))
            return
        if session_id is not None and command.method in _ACTIONS:
            self._on_action(self._multiplexer.target_of(session_id) or "")
        rule = command_filter.rule_for(command.method)
        if rule is None:
            self._multiplexer.submit(self, command, root)
        else:
            self._judge(command, rule, root)

    def _judge(self, command: Command, rule: command_filter.Rule, root: str) -> None:
        verdict = command_filter.review(rule, bytes(command.params), self._folders)
        their_id = b"%d" % command.id
        if isinstance(verdict, Refuse):
            self.deliver(error_reply(their_id, -32000, verdict.message, command.sessionId))
            return
        if isinstance(verdict, Answer):
            tail = b"" if command.sessionId is None else b',"sessionId":' + encode(command.sessionId)
            self.deliver(b'{"id":%b,"result":{}%b}' % (their_id, tail))
            if verdict.leave:
                self.client.close(NORMAL, "detached; the session stays open")
                self.leave()
            return
        command.params = msgspec.Raw(encode(verdict.params))
        observer = None
        if command.method == "Target.createBrowserContext":
            disposed_by_chrome = verdict.params.get("disposeOnDetach") is True
            observer = lambda reply: self._context_created(reply, disposed_by_chrome)  # noqa: E731
        self._multiplexer.submit(self, command, root, observer)

    def _context_created(self, reply: bytes, disposed_by_chrome: bool) -> None:
        """A context of its own has download settings of its own: set them before the client can open a page in it."""
        try:
            context_id = str(result_of(reply)["browserContextId"])
        except (CdpError, KeyError):
            return
        if self._left and not disposed_by_chrome:
            self._multiplexer.tell("Target.disposeBrowserContext", {"browserContextId": context_id})
            return
        if not disposed_by_chrome:
            self._contexts.add(context_id)
        self._on_context(context_id)

    def _refuse_client(self, why: str) -> None:
        self.client.close(INVALID_DATA, why)
        self.leave()

    def leave(self) -> None:
        """The client has gone, or goes now: its sessions and contexts end, those of others stay."""
        if self._left:
            return
        self._left = True
        root, self._root = self._root, None
        self._early = []
        for context_id in self._contexts:
            self._multiplexer.tell("Target.disposeBrowserContext", {"browserContextId": context_id})
        if root is not None:
            self._multiplexer.forget(self, root)
        self._on_leave(self)


def _is_input(command: Command) -> bool:
    return command_filter.innermost_method(command.method, bytes(command.params)).startswith("Input.")
