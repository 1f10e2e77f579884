"""A browser on a node, how browsers behave there, and how a node refuses."""

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from fleetkit.errors import FailedPrecondition, NotFound, ResourceExhausted
from session_api.domain.browser import BrowserFacts
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import SessionId
from session_api.domain.node import RunningBrowser

_JUST_NOW, _LONG_AGO = timedelta(seconds=1), timedelta(minutes=10)


class NodeDraining(FailedPrecondition):
    """The node is stopping."""

    reason = "NODE_DRAINING"


class NodeFull(ResourceExhausted):
    """Every slot of the node is taken."""

    reason = "NODE_FULL"


class StaleEpoch(FailedPrecondition):
    """A newer allocation of the session exists."""

    reason = "STALE_EPOCH"


class BrowserNotFound(NotFound):
    """No browser of this session runs here."""

    reason = "BROWSER_NOT_FOUND"


@dataclass(slots=True, kw_only=True)
class BrowserHabits:
    """How browsers behave: seconds, and shares of starts and of stops."""

    start: float = 1.5
    start_fails: float = 0.0
    # Starts that never come to an end by themselves, and after how long they are given up.
    start_hangs: float = 0.0
    start_timeout: float = 9.0
    stop: float = 0.2
    stubborn: float = 0.0
    stubborn_stop: float = 8.0


@dataclass(eq=False, slots=True, kw_only=True)
class Browser:
    """The browser of one allocation: it exists from its start order until it is gone."""

    node_name: str
    session_id: SessionId
    epoch: int
    up: "asyncio.Future[BrowserFacts]"
    end: "asyncio.Future[CloseReason]"
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    # By the node's own clock, in seconds; None until it is up.
    deadline: float | None = None
    # When session-api moved it last.
    move_time: float = 0.0
    # Generation of the control lease that a person holds; 0: nobody does.
    control: int = 0
    # The newest one that session-api told of between heartbeats, and when.
    control_told: int = 0
    control_time: float = 0.0
    alarm: asyncio.TimerHandle | None = None
    clients: int = 0
    # Since when somebody has been attached without a break.
    attached_since: float = 0.0

    @property
    def key(self) -> tuple[SessionId, int]:
        return (self.session_id, self.epoch)

    def attach(self, now: float) -> None:
        if self.clients == 0:
            self.attached_since = now
        self.clients += 1

    def detach(self) -> None:
        self.clients -= 1

    def reported(self) -> RunningBrowser:
        return RunningBrowser(
            session_id=self.session_id,
            epoch=self.epoch,
            client_count=self.clients,
            input_idle=_JUST_NOW if self.clients else _LONG_AGO,
        )


class BrowserWitness(Protocol):
    """Sees what really runs, which session-api only hears of."""

    def browser_began(self, browser: Browser) -> None: ...
    def browser_up(self, browser: Browser) -> None: ...
    def deadline_moved(self, browser: Browser, remaining: timedelta) -> None: ...
    def browser_ends(self, browser: Browser, reason: CloseReason) -> None: ...
    def browser_gone(self, browser: Browser) -> None: ...
