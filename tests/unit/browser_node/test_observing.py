"""What a client with an observing token, and one beside a person in control, may say."""

import re

import pytest

from browser_node.adapters.chromium.cdp.observing import OBSERVABLE
from tests.support.cdp import CHILD, ROOT_A, ROOT_B, FakePipe, attached, child_appears

# Words that methods begin with when all they do is read, and the few others that were looked at one by one.
_READS = re.compile(r"\w+\.(get|describe|query|search|capture)[A-Z]\w*")
_LOOKED_AT = {
    "DOM.discardSearchResults",
    "DOM.performSearch",
    "DOM.querySelector",
    "DOM.requestChildNodes",
    "Page.screencastFrameAck",
    "Page.setLifecycleEventsEnabled",
    "Page.startScreencast",
    "Page.stopScreencast",
    "Target.detachFromTarget",
    "Target.setDiscoverTargets",
}
# Reading these makes the browser or the page do something.
_ACTS = {
    "Page.captureScreenshot",
    "Page.getAppManifest",
    "Page.getInstallabilityErrors",
    "HeapProfiler.getHeapObjectId",
    "Target.getDevToolsTarget",
}
# Domains that stop or slow a page once they are enabled.
_STOPPING = {"Animation", "Debugger", "Fetch", "HeapProfiler", "Overlay", "Profiler", "WebAuthn"}


@pytest.mark.parametrize("method", sorted(OBSERVABLE))
def test_no_observable_method_has_an_effect(method: str) -> None:
    domain, _, name = method.partition(".")
    assert domain not in _STOPPING
    assert method not in _ACTS
    assert name in {"enable", "disable"} or _READS.fullmatch(method) or method in _LOOKED_AT


@pytest.mark.parametrize(
    "method",
    [
        "Runtime.evaluate",
        "Runtime.callFunctionOn",
        "Runtime.getProperties",
        "Runtime.addBinding",
        "Page.navigate",
        "Page.reload",
        "Page.close",
        "Page.crash",
        "Page.printToPDF",
        "Page.getAppManifest",
        "Page.addScriptToEvaluateOnNewDocument",
        "Page.handleJavaScriptDialog",
        "Page.bringToFront",
        "Page.setBypassCSP",
        "DOM.setAttributeValue",
        "DOM.setFileInputFiles",
        "DOM.focus",
        "DOM.scrollIntoViewIfNeeded",
        "CSS.setStyleTexts",
        "CSS.forcePseudoState",
        "Input.dispatchMouseEvent",
        "Input.insertText",
        "Emulation.setTimezoneOverride",
        "Network.setExtraHTTPHeaders",
        "Network.setBlockedURLs",
        "Network.clearBrowserCookies",
        "Network.getCookies",
        "Storage.getCookies",
        "Storage.clearDataForOrigin",
        "Fetch.enable",
        "Debugger.enable",
        "Debugger.pause",
        "Target.createTarget",
        "Target.closeTarget",
        "Target.activateTarget",
        "Target.createBrowserContext",
        "Target.disposeBrowserContext",
        "Target.sendMessageToTarget",
        "Browser.setDownloadBehavior",
        "Browser.setWindowBounds",
        "Browser.grantPermissions",
        "HeapProfiler.collectGarbage",
        "Tracing.start",
        "IO.read",
        "page.enable",
        "Page.enable ",
        "Unknown.method",
        "",
    ],
)
async def test_an_observer_is_refused_everything_else(method: str) -> None:
    pipe = FakePipe()
    observer = await attached(pipe, ROOT_A, is_observer=True)
    child_appears(pipe, ROOT_A)
    before = len(pipe.written)

    observer.say({"id": 1, "method": method})
    observer.say({"id": 2, "method": method, "sessionId": CHILD})

    assert [message["error"]["code"] for message in observer.client.got[1:]] == [-32000, -32000]
    assert len(pipe.written) == before


async def test_an_observer_reads() -> None:
    pipe = FakePipe()
    observer = await attached(pipe, ROOT_A, is_observer=True)

    observer.say({"id": 1, "method": "Target.getTargets"})
    pipe.answer("Target.getTargets", {"targetInfos": []})

    assert observer.client.got == [{"id": 1, "result": {"targetInfos": []}}]


async def test_no_page_waits_for_an_observer_and_its_sessions_are_flat() -> None:
    pipe = FakePipe()
    observer = await attached(pipe, ROOT_A, is_observer=True)
    observer.say({"id": 1, "method": "Target.setAutoAttach", "params": {"waitForDebuggerOnStart": True}})
    observer.say({"id": 2, "method": "Target.attachToTarget", "params": {"targetId": "T", "flatten": False}})
    observer.say({"id": 3, "method": "Runtime.runIfWaitingForDebugger"})

    assert pipe.commands("Target.setAutoAttach")[0]["params"] == {"waitForDebuggerOnStart": False, "flatten": True}
    assert pipe.commands("Target.attachToTarget")[0]["params"] == {"targetId": "T", "flatten": True}
    assert pipe.commands("Runtime.runIfWaitingForDebugger") == []
    assert observer.client.got == [{"id": 3, "result": {}}]


async def test_an_observers_picture_does_not_resize_the_page() -> None:
    pipe = FakePipe()
    observer = await attached(pipe, ROOT_A, is_observer=True)
    asked = {"format": "jpeg", "captureBeyondViewport": True, "clip": {"x": 0, "y": 0, "width": 1, "height": 1}}

    observer.say({"id": 1, "method": "Page.captureScreenshot", "params": asked})

    assert pipe.commands("Page.captureScreenshot")[0]["params"] == {"format": "jpeg"}


async def test_an_observer_that_leaves_changes_nothing() -> None:
    pipe = FakePipe()
    observer = await attached(pipe, ROOT_A, is_observer=True)
    child_appears(pipe, ROOT_A, waiting=True)
    observer.say({"id": 1, "method": "Page.enable", "sessionId": CHILD})
    before = len(pipe.written)

    observer.connection.leave()

    assert [command["method"] for command in pipe.written[before:]] == ["Target.detachFromTarget"]


_WRAPPED = '{"id":1,"method":"Input.insertText","params":{"text":"x"}}'


class Lock:
    """Control that a test takes and gives back."""

    is_held = False


@pytest.mark.parametrize(
    "method", ["Input.dispatchKeyEvent", "Page.navigate", "Page.navigateToHistoryEntry", "Target.sendMessageToTarget"]
)
async def test_clients_do_not_drive_while_a_person_has_control(method: str) -> None:
    pipe, lock = FakePipe(), Lock()
    a, b = await attached(pipe, ROOT_A, control=lock), await attached(pipe, ROOT_B, control=lock)
    lock.is_held = True

    a.say({"id": 1, "method": method, "params": {"url": "about:blank", "message": _WRAPPED}})
    b.say({"id": 1, "method": "Runtime.evaluate"})

    assert a.client.got[0]["error"]["code"] == -32000
    assert "person has control" in a.client.got[0]["error"]["message"]
    assert pipe.commands(method) == []
    assert len(pipe.commands("Runtime.evaluate")) == 1
    lock.is_held = False
    a.say({"id": 2, "method": method, "params": {"url": "about:blank", "message": _WRAPPED}})
    assert len(pipe.commands(method)) == 1
