"""A client's place on the multiplexer: its own session in the browser, behind the command filter."""

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

from browser_node.adapters.chromium.cdp import command_filter
from browser_node.adapters.chromium.cdp.command_filter import Answer, Refuse, Rule, SessionFolders
from browser_node.adapters.chromium.cdp.leftovers import LASTING, Leftovers
from browser_node.adapters.chromium.cdp.multiplexer import (
    MOST_PENDING,
    CdpError,
    Command,
    Multiplexer,
    decode_command,
    encode,
    error_reply,
    result_of,
)
from browser_node.adapters.chromium.cdp.observing import observer_rule_for
from browser_node.usecases.ports import CdpAccess, CdpClient

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
# What a client may not do while a person has control: type, click, and take the page away from under the hands.
_DRIVES = (
    "Input.",
    "Page.bringToFront",
    "Page.close",
    "Page.navigate",
    "Page.reload",
    "Target.activateTarget",
)
_HELD = "A person has control of this session: input and navigation of clients wait until it is handed back."


class Control(Protocol):
    """Who may type and click now."""

    @property
    def is_held(self) -> bool:
        """Whether a person has control."""
        ...


class NobodyInControl:
    """Control that no person ever takes."""

    is_held = False


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
        access: CdpAccess = CdpAccess(),  # noqa: B008  # a value
        control: Control = NobodyInControl(),  # noqa: B008  # a value
    ) -> None:
        self._multiplexer = multiplexer
        self.client = client
        self._folders = folders
        self._on_context = on_context
        self._on_action = on_action
        self._on_leave = on_leave
        self._target_id = access.target_id
        self._control = control
        self._rule_for: Callable[[str], Rule | None] = (
            observer_rule_for if access.is_observer else command_filter.rule_for
        )
        self._leftovers = None if access.is_observer else Leftovers(multiplexer, self)
        self._root: str | None = None
        self._early: list[bytes] = []
        self._left = False
        self._holds: set[str] = set()
        # Contexts of this client, and those of them that Chrome disposes of by itself when it is gone.
        self._contexts: set[str] = set()
        self._disposed_by_chrome: set[str] = set()
        self.pending = 0
        self.root_tail = b""
        self.deliver = client.send

    @property
    def contexts(self) -> frozenset[str]:
        """The contexts that this client has made."""
        return frozenset(self._contexts)

    async def open(self) -> None:
        """Join the browser, then take what the client said meanwhile. Raises CdpError."""
        root = await self._multiplexer.open_root(self, self._target_id)
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
        method = command.method
        if self._control.is_held and _drives(command):
            self.deliver(error_reply(b"%d" % command.id, -32000, _HELD, session_id))
            return
        rule = self._rule_for(method)
        if rule is not None and not self._passes(command, rule):
            return
        if method in _ACTIONS:
            self._on_action(self._page_of(session_id))
        elif method in LASTING and self._leftovers is not None:
            self._leftovers.note(command, root)
        observer = None
        if method == "Target.createBrowserContext":
            disposed_by_chrome = b'"disposeOnDetach":true' in bytes(command.params)
            observer = lambda reply: self._context_created(reply, disposed_by_chrome)  # noqa: E731
        self._multiplexer.submit(self, command, root, observer)

    def _page_of(self, session_id: str | None) -> str:
        """Return the target that a command speaks to; empty for the browser itself."""
        if session_id is None:
            return self._target_id or ""
        return self._multiplexer.target_of(session_id) or ""

    def _passes(self, command: Command, rule: Rule) -> bool:
        """Apply a rule: rewrite the parameters, or answer in the browser's place."""
        verdict = command_filter.review(rule, bytes(command.params), self._folders)
        their_id = b"%d" % command.id
        if isinstance(verdict, Refuse):
            self.deliver(error_reply(their_id, -32000, verdict.message, command.sessionId))
            return False
        if isinstance(verdict, Answer):
            tail = b"" if command.sessionId is None else b',"sessionId":' + encode(command.sessionId)
            self.deliver(b'{"id":%b,"result":{}%b}' % (their_id, tail))
            if verdict.leave:
                self.client.close(NORMAL, "detached; the session stays open")
                self.leave()
            return False
        command.params = msgspec.Raw(encode(verdict.params))
        return True

    def _context_created(self, reply: bytes, disposed_by_chrome: bool) -> None:
        """A context of its own has download settings of its own: set them before the client can open a page in it."""
        try:
            context_id = str(result_of(reply)["browserContextId"])
        except (CdpError, KeyError):
            return
        if self._left:
            if not disposed_by_chrome:
                self._multiplexer.tell("Target.disposeBrowserContext", {"browserContextId": context_id})
            return
        self._contexts.add(context_id)
        if disposed_by_chrome:
            self._disposed_by_chrome.add(context_id)
        self._on_context(context_id)

    def _refuse_client(self, why: str) -> None:
        self.client.close(INVALID_DATA, why)
        self.leave()

    # ---- pace

    def hold(self, why: str) -> None:
        """Read nothing more of the client until every such reason is gone."""
        self._holds.add(why)
        self.client.pause_reading()

    def release(self, why: str) -> None:
        if why in self._holds:
            self._holds.remove(why)
            if not self._holds:
                self.client.resume_reading()

    def pending_changed(self) -> None:
        """Commands are sent faster than the browser answers them, or it has caught up."""
        if self.pending >= MOST_PENDING:
            self.hold("commands")
        else:
            self.release("commands")

    # ---- the end

    def root_ended(self) -> None:
        """The page that this client attached to is gone."""
        self._root = None
        self.client.close(NORMAL, "the page was closed")
        self.leave()

    def leave(self) -> None:
        """The client has gone, or goes now: its sessions and contexts end and what it set is taken back."""
        if self._left:
            return
        self._left = True
        root, self._root = self._root, None
        self._early = []
        for context_id in self._contexts - self._disposed_by_chrome:
            self._multiplexer.tell("Target.disposeBrowserContext", {"browserContextId": context_id})
        if root is not None and self._leftovers is not None:
            self._leftovers.take_back()
        self._multiplexer.forget(self, root)
        self._on_leave(self)


def _drives(command: Command) -> bool:
    return command_filter.innermost_method(command.method, bytes(command.params)).startswith(_DRIVES)
