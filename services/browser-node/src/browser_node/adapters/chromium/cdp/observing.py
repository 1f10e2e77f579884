"""What an observer may say: only what reads, and nothing unless it is in these lists.

An observer sees what the session's pages show and hold, and what they load; network events carry cookies, so a token
for observing is to be kept like any other. It cannot run script (a getter may do anything), stop, steer or slow a page,
nor ask for what asks a page to do something: print styles, manifest fetches, screenshots larger than the page's view.
"""

from browser_node.adapters.chromium.cdp.command_filter import RULES as CLIENT_RULES
from browser_node.adapters.chromium.cdp.command_filter import (
    Answer,
    Forward,
    Params,
    Refuse,
    Rule,
    SessionFolders,
    Verdict,
)


def _methods(domain: str, names: str) -> frozenset[str]:
    return frozenset(f"{domain}.{name}" for name in names.split())


OBSERVABLE = frozenset[str]().union(
    _methods(
        "Accessibility", "enable disable getFullAXTree getPartialAXTree getRootAXNode getChildAXNodes queryAXTree"
    ),
    _methods("Audits", "enable disable"),
    _methods("Browser", "getVersion getWindowBounds getWindowForTarget"),
    _methods("CSS", "enable disable getComputedStyleForNode getInlineStylesForNode getMatchedStylesForNode"),
    _methods("CSS", "getMediaQueries getPlatformFontsForNode getStyleSheetText getBackgroundColors"),
    _methods("DOM", "enable disable describeNode getAttributes getBoxModel getContentQuads getDocument"),
    _methods("DOM", "getFlattenedDocument getFrameOwner getNodeForLocation getOuterHTML getTopLayerElements"),
    _methods("DOM", "querySelector querySelectorAll requestChildNodes"),
    _methods("DOM", "performSearch getSearchResults discardSearchResults"),
    _methods("DOMSnapshot", "enable disable captureSnapshot"),
    _methods("Inspector", "enable disable"),
    _methods("Log", "enable disable"),
    _methods("Memory", "getDOMCounters"),
    _methods("Network", "enable disable getCertificate getRequestPostData getResponseBody searchInResponseBody"),
    _methods("Page", "enable disable captureSnapshot getFrameTree getLayoutMetrics getNavigationHistory"),
    _methods("Page", "getResourceContent getResourceTree searchInResource setLifecycleEventsEnabled"),
    _methods("Page", "startScreencast stopScreencast screencastFrameAck"),
    _methods("Performance", "enable disable getMetrics"),
    _methods("PerformanceTimeline", "enable"),
    _methods("Runtime", "enable disable getHeapUsage getIsolateId"),
    _methods("Schema", "getDomains"),
    _methods("Security", "enable disable"),
    _methods("Storage", "getStorageKeyForFrame getUsageAndQuota"),
    _methods("Target", "detachFromTarget getBrowserContexts getTargetInfo getTargets setDiscoverTargets"),
)


def _attach(params: Params, folders: SessionFolders) -> Verdict:
    """In a nested session nobody would look at the commands."""
    return Forward({**params, "flatten": True})


def _auto_attach(params: Params, folders: SessionFolders) -> Verdict:
    """New pages do not wait for somebody who only looks."""
    return Forward({**params, "flatten": True, "waitForDebuggerOnStart": False})


def _capture_screenshot(params: Params, folders: SessionFolders) -> Verdict:
    """What is beyond the view, or scaled, is made by resizing the page for a moment."""
    return Forward({key: params[key] for key in ("format", "quality", "optimizeForSpeed") if key in params})


def _run_if_waiting(params: Params, folders: SessionFolders) -> Verdict:
    """Every automation client says it; no page waits for an observer, but one may wait for somebody else."""
    return Answer()


def _refuse(params: Params, folders: SessionFolders) -> Verdict:
    return Refuse("The token is for observing: this method could change something.")


_RULES: dict[str, Rule] = {
    "Browser.close": CLIENT_RULES["Browser.close"],
    "Page.captureScreenshot": _capture_screenshot,
    "Runtime.runIfWaitingForDebugger": _run_if_waiting,
    "Target.attachToTarget": _attach,
    "Target.autoAttachRelated": _auto_attach,
    "Target.setAutoAttach": _auto_attach,
}


def observer_rule_for(method: str) -> Rule | None:
    """Return the rule of a method for observers, None when it passes."""
    if method in OBSERVABLE:
        return None
    return _RULES.get(method, _refuse)
