import json
from pathlib import Path

import msgspec
import pytest

from browser_node.adapters.chromium.cdp.command_filter import (
    Answer,
    Forward,
    Refuse,
    SessionFolders,
    Verdict,
    is_page_url,
    review,
    rule_for,
)

FOLDERS = SessionFolders(downloads=Path("/s/d"), uploads=Path("/s/u"))


def judge(method: str, params: object) -> Verdict:
    rule = rule_for(method)
    assert rule is not None
    return review(rule, json.dumps(params).encode(), FOLDERS)


def wrapped(method: str, params: object, *, levels: int = 1) -> dict[str, object]:
    message: dict[str, object] = {"id": 1, "method": method, "params": params}
    for _ in range(levels - 1):
        inner = {"sessionId": "S", "message": json.dumps(message)}
        message = {"id": 1, "method": "Target.sendMessageToTarget", "params": inner}
    return {"sessionId": "S", "message": json.dumps(message)}


def test_a_download_folder_becomes_the_sessions_own_and_keeps_the_context() -> None:
    asked = {"behavior": "deny", "downloadPath": "/tmp/mine", "browserContextId": "C", "eventsEnabled": False}

    verdict = judge("Browser.setDownloadBehavior", asked)

    assert verdict == Forward(
        {"behavior": "allowAndName", "downloadPath": "/s/d", "eventsEnabled": True, "browserContextId": "C"}
    )


def test_a_pages_download_folder_is_accepted_and_changes_nothing() -> None:
    assert judge("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": "/tmp"}) == Answer()


def test_closing_the_browser_ends_the_clients_stay_only() -> None:
    assert judge("Browser.close", {}) == Answer(leave=True)


@pytest.mark.parametrize(
    "method",
    [
        "Browser.crash",
        "Browser.crashGpuProcess",
        "Extensions.loadUnpacked",
        "Extensions.anything",
        "Target.exposeDevToolsProtocol",
        "Target.setRemoteLocations",
        "SystemInfo.getInfo",
        "Browser.getBrowserCommandLine",
        "Browser.executeBrowserCommand",
        "Cast.startDesktopMirroring",
        "PWA.launchFilesInApp",
    ],
)
def test_dangerous_methods_are_refused(method: str) -> None:
    assert isinstance(judge(method, {}), Refuse)


@pytest.mark.parametrize("method", ["Runtime.evaluate", "Page.captureScreenshot", "Browser.getVersion"])
def test_ordinary_methods_have_no_rule(method: str) -> None:
    assert rule_for(method) is None


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/passwd",
        "FILE:/etc/passwd",
        " \x01file:///x",
        "fi\nle:///x",
        "view-source:file:///x",
        "view-source: view-source:\tfile:///x",
        "filesystem:file:///x",
        "/etc/passwd",
        "chrome://inducebrowsercrashforrealz",
        "chrome://settings",
        "about:version",
        "about:inducebrowsercrashforrealz",
        "edge://settings",
        "devtools://devtools/bundled/inspector.html",
        "chrome-untrusted://print",
        "ftp://a/",
        "nothing",
    ],
)
def test_files_of_the_machine_and_pages_of_the_browser_cannot_be_opened(url: str) -> None:
    assert not is_page_url(url)
    assert isinstance(judge("Page.navigate", {"url": url}), Refuse)
    assert isinstance(judge("Target.createTarget", {"url": url}), Refuse)
    assert isinstance(judge("Fetch.continueRequest", {"requestId": "1", "url": url}), Refuse)
    assert isinstance(judge("Network.loadNetworkResource", {"url": url}), Refuse)


@pytest.mark.parametrize(
    "url", ["http://a/file:", "about:blank", "about:blank#x", "data:text/html,file:", "view-source:https://a", ""]
)
def test_other_addresses_can_be_opened(url: str) -> None:
    assert judge("Page.navigate", {"url": url}) == Forward({"url": url})


def test_a_request_goes_on_as_it_is() -> None:
    assert judge("Fetch.continueRequest", {"requestId": "1"}) == Forward({"requestId": "1"})


def test_what_could_not_be_taken_back_is_refused() -> None:
    assert isinstance(judge("Page.setWebLifecycleState", {"state": "frozen"}), Refuse)
    assert isinstance(judge("Emulation.setVirtualTimePolicy", {"policy": "pause"}), Refuse)
    assert judge("Page.setWebLifecycleState", {"state": "active"}) == Forward({"state": "active"})


def test_traces_are_of_the_browser_alone() -> None:
    asked = {"transferMode": "ReturnAsStream", "tracingBackend": "system", "perfettoConfig": "AA=="}
    assert judge("Tracing.start", asked) == Forward({"transferMode": "ReturnAsStream"})


def test_a_context_with_a_proxy_of_its_own_is_refused() -> None:
    assert isinstance(judge("Target.createBrowserContext", {"proxyServer": "http://x"}), Refuse)
    assert judge("Target.createBrowserContext", {"disposeOnDetach": True}) == Forward({"disposeOnDetach": True})


@pytest.mark.parametrize("path", ["/etc/passwd", "/s/u/../../etc/passwd", "/s/u", "/s/uploads/x", "u/x", 7])
def test_file_inputs_take_nothing_from_outside_the_upload_folder(path: object) -> None:
    assert isinstance(judge("DOM.setFileInputFiles", {"files": ["/s/u/ok", path]}), Refuse)
    assert isinstance(judge("Input.dispatchDragEvent", {"data": {"files": [path]}}), Refuse)


def test_file_inputs_take_uploaded_files() -> None:
    params = {"files": ["/s/u/a.txt"], "nodeId": 3}
    assert judge("DOM.setFileInputFiles", params) == Forward(params)


@pytest.mark.parametrize("levels", [1, 2, 5])
def test_a_wrapped_command_is_judged_at_any_depth(levels: int) -> None:
    verdict = judge("Target.sendMessageToTarget", wrapped("Page.navigate", {"url": "file:///x"}, levels=levels))
    assert isinstance(verdict, Refuse)


def test_a_wrapped_command_is_rewritten() -> None:
    verdict = judge("Target.sendMessageToTarget", wrapped("Browser.setDownloadBehavior", {"downloadPath": "/tmp"}))

    assert isinstance(verdict, Forward)
    assert json.loads(str(verdict.params["message"]))["params"]["downloadPath"] == "/s/d"


def test_a_wrapped_command_that_names_a_session_is_refused() -> None:
    message = json.dumps({"id": 1, "method": "Runtime.evaluate", "sessionId": "other"})
    assert isinstance(judge("Target.sendMessageToTarget", {"message": message}), Refuse)


def test_messages_nested_without_end_are_refused() -> None:
    assert isinstance(judge("Target.sendMessageToTarget", wrapped("Runtime.evaluate", {}, levels=12)), Refuse)


def test_of_duplicate_parameters_the_browser_gets_the_one_that_was_judged() -> None:
    rule = rule_for("Page.navigate")
    assert rule is not None

    verdict = review(rule, b'{"url":"file:///etc/passwd","url":"about:blank"}', FOLDERS)

    assert isinstance(verdict, Forward)
    assert msgspec.json.encode(verdict.params) == b'{"url":"about:blank"}'


def test_parameters_that_are_no_object_are_refused() -> None:
    assert isinstance(judge("Page.navigate", ["file:///x"]), Refuse)
