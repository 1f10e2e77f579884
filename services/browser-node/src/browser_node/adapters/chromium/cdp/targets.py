"""What can be attached to in a browser, kept up to date by the browser's own events."""

import msgspec

from browser_node.adapters.chromium.cdp.multiplexer import Multiplexer
from browser_node.adapters.chromium.cdp.node_session import NodeSession
from browser_node.usecases.ports import OpenTarget

# The browser's own surfaces are nothing to attach to.
_HIDDEN_TYPES = frozenset({"browser", "browser_ui", "tab", "other"})
# A hostile page may open as many frames and workers as it likes.
_MOST_TARGETS = 1000


class _TargetInfo(msgspec.Struct, gc=False):
    targetId: str = ""  # noqa: N815  # the protocol's name
    type: str = ""
    title: str = ""
    url: str = ""


class _Params(msgspec.Struct, gc=False):
    targetInfo: _TargetInfo = msgspec.field(default_factory=_TargetInfo)  # noqa: N815  # the protocol's name
    targetId: str = ""  # noqa: N815  # the protocol's name


class _Event(msgspec.Struct, gc=False):
    params: _Params


_decode = msgspec.json.Decoder(_Event).decode


class Targets:
    """The targets of one browser, in the order in which they came up."""

    def __init__(self, multiplexer: Multiplexer) -> None:
        self._session = NodeSession(multiplexer, self._on_event)
        self._known: dict[str, OpenTarget] = {}

    async def start(self) -> None:
        """Follow the browser from now on. Raises CdpError."""
        await self._session.open()
        await self._session.call("Target.setDiscoverTargets", {"discover": True})

    @property
    def known(self) -> tuple[OpenTarget, ...]:
        """All that are open now, newest first."""
        return tuple(reversed(self._known.values()))

    def _on_event(self, message: bytes) -> None:
        if message.startswith((b'{"method":"Target.targetCreated"', b'{"method":"Target.targetInfoChanged"')):
            info = _decode(message).params.targetInfo
            if info.type not in _HIDDEN_TYPES and (info.targetId in self._known or len(self._known) < _MOST_TARGETS):
                self._known[info.targetId] = OpenTarget(
                    id=info.targetId, type=info.type, title=info.title, url=info.url
                )
        elif message.startswith(b'{"method":"Target.targetDestroyed"'):
            self._known.pop(_decode(message).params.targetId, None)
