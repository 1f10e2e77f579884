"""What a client leaves on pages that others go on using, and how it is taken back.

Chrome itself takes back what belongs to a CDP session when that session ends: emulation, headers, interception (what
waits for an answer goes on), debugger stops, scripts for new documents, permissions, held mouse buttons. What it keeps
was found by trying, method by method; that is what is taken back here, by the client's own sessions, just before they
end. Two more methods could not be taken back at all, so clients do not have them (see `command_filter`).
"""

from collections.abc import Mapping

import msgspec

from browser_node.adapters.chromium.cdp.multiplexer import CdpError, Command, Endpoint, Multiplexer, result_of

_Commands = tuple[tuple[str, dict[str, object]], ...]

_NO_METRICS: dict[str, object] = {"width": 0, "height": 0, "deviceScaleFactor": 0, "mobile": False}

_DIALOGS = "Page.enable"

# By the method that left it; each is sent in the session that the method was used in.
_TAKEN_BACK_BY: Mapping[str, _Commands] = {
    "Emulation.setPageScaleFactor": (("Emulation.setPageScaleFactor", {"pageScaleFactor": 1}),),
    # Without an override there is nothing to clear, and the size stays.
    "Emulation.setVisibleSize": (
        ("Emulation.setDeviceMetricsOverride", _NO_METRICS),
        ("Emulation.clearDeviceMetricsOverride", {}),
    ),
    # A dialog that is open stops its page, and no client that comes later can answer it.
    _DIALOGS: (("Page.handleJavaScriptDialog", {"accept": False}),),
}
_WINDOW = "Browser.setWindowBounds"
_OF_WINDOWS = frozenset({_WINDOW, "Browser.setContentsSize"})
_MOST_WINDOWS = 64
LASTING = _OF_WINDOWS | frozenset(_TAKEN_BACK_BY)


class _WindowParams(msgspec.Struct):
    windowId: int = 0  # noqa: N815  # the protocol's name


_decode_window = msgspec.json.Decoder(_WindowParams).decode


class Leftovers:
    """What one client did that outlasts its sessions."""

    def __init__(self, multiplexer: Multiplexer, client: Endpoint) -> None:
        self._multiplexer = multiplexer
        self._client = client
        # Session and method, in the order of first use.
        self._used: dict[tuple[str, str], None] = {}
        # As windows were before this client moved them.
        self._windows: dict[int, dict[str, object]] = {}

    def note(self, command: Command, root: str) -> None:
        """A client uses one of the LASTING methods; called before the command is sent."""
        if command.method not in _OF_WINDOWS:
            session_id = command.sessionId or root
            self._used[session_id, command.method] = None
            if command.method == _DIALOGS:
                self._multiplexer.answers_dialogs(session_id)
            return
        try:
            window_id = _decode_window(command.params).windowId
        except msgspec.DecodeError:
            return
        if window_id not in self._windows and len(self._windows) < _MOST_WINDOWS:
            self._windows[window_id] = {}
            ask = Command(0, "Browser.getWindowBounds", msgspec.Raw(b'{"windowId":%d}' % window_id))
            self._multiplexer.ask(ask, lambda reply: self._remember(window_id, reply))

    def _remember(self, window_id: int, reply: bytes) -> None:
        try:
            self._windows[window_id] = dict(result_of(reply)["bounds"])
        except (CdpError, KeyError, TypeError):
            self._windows.pop(window_id, None)

    def take_back(self) -> None:
        """Send what undoes it all; the client's sessions must still be there."""
        children = self._multiplexer.children_of(self._client)
        for session_id, opened in children.items():
            if opened.starts_paused:
                # What opened this page waits with it, for ever.
                self._multiplexer.tell("Runtime.runIfWaitingForDebugger", {}, session_id)
        for session_id, method in self._used:
            child = children.get(session_id)
            if child is None:
                continue
            if method == _DIALOGS and self._multiplexer.has_answerer(child.target_id, besides=self._client):
                continue
            for name, params in _TAKEN_BACK_BY[method]:
                self._multiplexer.tell(name, params, session_id)
        for window_id, bounds in self._windows.items():
            self._restore_window(window_id, dict(bounds))

    def _restore_window(self, window_id: int, bounds: dict[str, object]) -> None:
        # A state other than `normal` cannot be set together with a size.
        state = bounds.pop("windowState", "normal")
        steps: list[dict[str, object]] = [{"windowState": "normal"}, bounds]
        if state != "normal":
            steps.append({"windowState": state})
        for step in steps if bounds else ():
            self._multiplexer.tell(_WINDOW, {"windowId": window_id, "bounds": step})
