"""Client of a browserfleet: live browsers that stay open between runs.

    async with Fleet.from_env() as fleet, fleet.session(timeout="30m") as s:
        browser = await s.playwright()
        page = browser.contexts[0].pages[0]

`browser.close()` only detaches: a session ends with its block, with `close()`, or at its deadline. The API key travels
in headers, never in a URL.
"""

from browserfleet.client.artifact import Artifact
from browserfleet.client.calls import Retries
from browserfleet.client.errors import (
    ArtifactFailed,
    ArtifactNotFound,
    AttachFailed,
    BrowserStartFailed,
    CallTimedOut,
    ConfigurationInvalid,
    ControlTaken,
    FleetError,
    FleetFull,
    FleetUnavailable,
    InvalidRequest,
    LimitReached,
    NoCapableNode,
    NotFound,
    OccupancyLost,
    OptionUnavailable,
    PermissionDenied,
    ProxyUnreachable,
    QueueTimedOut,
    QuotaExceeded,
    RequestIdReused,
    SessionEnded,
    SessionNotFound,
    SessionNotOpen,
    SessionNotReady,
    SessionOccupied,
    TimeoutLimit,
    TransferFailed,
    Unauthenticated,
    WaitTimedOut,
)
from browserfleet.client.fleet import Fleet
from browserfleet.client.options import BrowserOptions, Proxy, Receipt
from browserfleet.client.session import Session
from browserfleet.client.settings import FleetSettings, TlsSettings
from browserfleet.client.states import ArtifactState, CloseReason, HolderKind, ReceiptState, SessionState, WatchKind

__all__ = [
    "Artifact",
    "ArtifactFailed",
    "ArtifactNotFound",
    "ArtifactState",
    "AttachFailed",
    "BrowserOptions",
    "BrowserStartFailed",
    "CallTimedOut",
    "CloseReason",
    "ConfigurationInvalid",
    "ControlTaken",
    "Fleet",
    "FleetError",
    "FleetFull",
    "FleetSettings",
    "FleetUnavailable",
    "HolderKind",
    "InvalidRequest",
    "LimitReached",
    "NoCapableNode",
    "NotFound",
    "OccupancyLost",
    "OptionUnavailable",
    "PermissionDenied",
    "Proxy",
    "ProxyUnreachable",
    "QueueTimedOut",
    "QuotaExceeded",
    "Receipt",
    "ReceiptState",
    "RequestIdReused",
    "Retries",
    "Session",
    "SessionEnded",
    "SessionNotFound",
    "SessionNotOpen",
    "SessionNotReady",
    "SessionOccupied",
    "SessionState",
    "TimeoutLimit",
    "TlsSettings",
    "TransferFailed",
    "Unauthenticated",
    "WaitTimedOut",
    "WatchKind",
]
