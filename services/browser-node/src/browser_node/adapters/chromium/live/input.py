"""What a person does to a browser, as commands of CDP."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from browser_node.adapters.chromium.cdp.command_filter import is_page_url
from browser_node.adapters.chromium.cdp.multiplexer import CdpError
from browser_node.adapters.chromium.live import messages as live
from browser_node.adapters.chromium.live.keyboard import key_event
from browser_node.adapters.chromium.live.tabs import Event, Tab, Tabs
from browser_node.adapters.chromium.pictures.screencast import Screencast

# A pointer that moves is told this often; what was in between does not matter.
_MOVE_INTERVAL = timedelta(milliseconds=16)
# What may wait in a page that does not react.
_MOST_UNANSWERED = 500

# Reads what is selected, in a world of its own where the page's scripts do not reach; never a password.
_SELECTION = """(() => {
  let field = document.activeElement;
  while (field?.shadowRoot?.activeElement) field = field.shadowRoot.activeElement;
  if (/^(TEXTAREA|INPUT)$/.test(field?.tagName) && field.type !== 'password' && field.selectionStart !== null)
    return field.value.slice(field.selectionStart, field.selectionEnd);
  return String(getSelection());
})()"""


class InputRefused(Exception):
    """It was not done; `code` is the protocol's, the message is for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class LiveInput:
    """Does what people with control ask for. Commands of one browser are done in the order in which they come."""

    def __init__(self, *, tabs: Tabs, screencast: Screencast) -> None:
        self._tabs = tabs
        self._screencast = screencast
        self._move: live.MouseMove | None = None
        self._move_timer: asyncio.TimerHandle | None = None

    async def do(self, command: live.ControlCommand, answer: Callable[[Event], None]) -> None:
        """Do what needs an answer of the browser. Raises InputRefused, CdpError."""
        match command:
            case live.TabNew():
                await self._open_tab(command)
            case live.TabClose():
                await self._close_tab(self._tab(command.tab))
            case live.TabActivate():
                await self._activate(self._tab(command.tab))
            case live.Navigate():
                await self._navigate(self._tab(command.tab), command.url)
            case live.Back() | live.Forward():
                await self._go(self._tab(command.tab), -1 if isinstance(command, live.Back) else 1)
            case live.Reload():
                await self._tabs.call(self._tab(command.tab), "Page.reload", {"ignoreCache": command.ignore_cache})
            case live.Dialog():
                params: dict[str, object] = {"accept": command.accept, "promptText": command.text}
                await self._tabs.call(self._tab(command.tab), "Page.handleJavaScriptDialog", params)
            case live.Copy():
                answer({"type": "clipboard", "tab": command.tab, "text": await self._selection(command.tab)})
            case _:
                raise InputRefused("invalid_command", "This is no such command.")

    def press(self, command: live.ControlCommand) -> bool:
        """Do what is done at once; False: it is something for `do`. Raises InputRefused."""
        match command:
            case live.MouseMove():
                self._move = command
                if self._move_timer is None:
                    loop = asyncio.get_running_loop()
                    self._move_timer = loop.call_later(_MOVE_INTERVAL.total_seconds(), self._flush_move)
                return True
            case live.MouseButton():
                self._mouse(
                    command,
                    {
                        "type": "mousePressed" if command.action == "down" else "mouseReleased",
                        "button": command.button,
                        "buttons": command.buttons,
                        "clickCount": command.clicks,
                    },
                )
            case live.Wheel():
                self._mouse(command, {"type": "mouseWheel", "deltaX": command.dx, "deltaY": command.dy})
            case live.Key():
                self._input(command.tab, "Input.dispatchKeyEvent", key_event(command))
            case live.Edit():
                # A key that is none carries the command.
                event: dict[str, object] = {"type": "rawKeyDown", "key": "Unidentified", "commands": [command.command]}
                self._input(command.tab, "Input.dispatchKeyEvent", event)
            case live.Text():
                self._input(command.tab, "Input.insertText", {"text": command.text})
            case live.Compose():
                self._input(
                    command.tab,
                    "Input.imeSetComposition",
                    {
                        "text": command.text,
                        "selectionStart": command.selection_start,
                        "selectionEnd": command.selection_end,
                    },
                )
            case _:
                self._flush_move()
                return False
        return True

    def close(self) -> None:
        if self._move_timer is not None:
            self._move_timer.cancel()

    # ---- pointer and keys

    def _mouse(self, command: live.MouseButton | live.Wheel, event: dict[str, object]) -> None:
        x, y = self._point(command.tab, command.x, command.y)
        self._input(command.tab, "Input.dispatchMouseEvent", {**event, "x": x, "y": y, "modifiers": command.modifiers})

    def _flush_move(self) -> None:
        move, self._move = self._move, None
        if self._move_timer is not None:
            self._move_timer.cancel()
            self._move_timer = None
        if move is None:
            return
        tab = self._tabs.find(move.tab)
        if tab is None or tab.target_id != self._screencast.active or self._tabs.unanswered >= _MOST_UNANSWERED:
            return
        try:
            x, y = self._point(move.tab, move.x, move.y)
        except InputRefused:
            return
        event: dict[str, object] = {"type": "mouseMoved", "x": x, "y": y, "modifiers": move.modifiers}
        self._tabs.tell(
            tab, "Input.dispatchMouseEvent", {**event, "buttons": move.buttons, "button": _dragged(move.buttons)}
        )

    def _point(self, number: int, x: float, y: float) -> tuple[float, float]:
        picture = self._screencast.picture_of(self._tab(number).target_id)
        if picture is None:
            raise InputRefused("no_picture", "There is no picture of this tab yet.")
        return picture.to_page(x, y)

    def _input(self, number: int, method: str, params: dict[str, object]) -> None:
        tab = self._tab(number)
        self._flush_move()
        if self._tabs.unanswered >= _MOST_UNANSWERED:
            raise InputRefused("page_busy", "The page does not react; the input was dropped.")
        if tab.target_id != self._screencast.active:
            # Chrome takes commands in their order: the tab is in front when the input comes.
            self._tabs.tell(tab, "Page.bringToFront", {})
            self._screencast.follow(tab.target_id)
        self._tabs.tell(tab, method, params)

    # ---- tabs

    def _tab(self, number: int) -> Tab:
        tab = self._tabs.find(number)
        if tab is None:
            raise InputRefused("no_such_tab", "There is no such tab any more.")
        return tab

    async def _activate(self, tab: Tab) -> None:
        await self._tabs.call(tab, "Page.bringToFront", {})
        self._screencast.follow(tab.target_id)

    async def _open_tab(self, command: live.TabNew) -> None:
        _check_url(command.url)
        beside = next((tab for tab in self._tabs.all() if tab.target_id == self._screencast.active), None)
        params: dict[str, object] = {"url": command.url}
        if beside is not None and beside.context_id:
            params["browserContextId"] = beside.context_id
        await self._tabs.call(None, "Target.createTarget", params)

    async def _close_tab(self, tab: Tab) -> None:
        if len(self._tabs.all()) == 1:
            raise InputRefused("last_tab", "The last tab cannot be closed.")
        await self._tabs.call(None, "Target.closeTarget", {"targetId": tab.target_id})

    async def _navigate(self, tab: Tab, url: str) -> None:
        _check_url(url)
        result = await self._tabs.call(tab, "Page.navigate", {"url": url})
        # A download, or another navigation, has taken this one's place.
        if result.get("errorText") not in (None, "", "net::ERR_ABORTED"):
            raise InputRefused("navigation_failed", str(result["errorText"]))

    async def _go(self, tab: Tab, steps: int) -> None:
        history = await self._tabs.call(tab, "Page.getNavigationHistory", {})
        index = int(history["currentIndex"]) + steps
        if not 0 <= index < len(history["entries"]):
            raise InputRefused("navigation_failed", "There is no page there.")
        await self._tabs.call(tab, "Page.navigateToHistoryEntry", {"entryId": history["entries"][index]["id"]})

    async def _selection(self, number: int) -> str:
        tab = self._tab(number)
        world = await self._tabs.call(tab, "Page.createIsolatedWorld", {"frameId": tab.target_id})
        result = await self._tabs.call(
            tab,
            "Runtime.evaluate",
            {"expression": _SELECTION, "contextId": world["executionContextId"], "returnByValue": True},
        )
        return str(result["result"].get("value", ""))[: live.MAX_TEXT]


def _check_url(url: str) -> None:
    if not is_page_url(url):
        raise InputRefused("url_refused", "Only pages of the web can be opened in a browser session.")


def _dragged(buttons: int) -> str:
    for bit, name in ((1, "left"), (2, "right"), (4, "middle"), (8, "back"), (16, "forward")):
        if buttons & bit:
            return name
    return "none"


def refused_by_browser(error: CdpError) -> InputRefused:
    """Say it in the protocol's words."""
    return InputRefused("browser_refused", str(error)[:200])
