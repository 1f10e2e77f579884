"""What is taken back when a client leaves."""

from browser_node.adapters.chromium.cdp.multiplexer import MOST_PENDING
from browser_node.usecases.ports import CdpAccess
from tests.support.cdp import CHILD, ROOT_A, ROOT_B, FakePipe, Place, attached, child_appears, opened

OTHER_CHILD = "D" * 32


def methods(pipe: FakePipe, session: str) -> list[str]:
    return [command["method"] for command in pipe.written if command.get("sessionId") == session]


async def test_what_outlasts_a_session_is_taken_back_before_the_session_ends() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    child_appears(pipe, ROOT_A)
    a.say({"id": 1, "method": "Emulation.setPageScaleFactor", "params": {"pageScaleFactor": 3}, "sessionId": CHILD})
    a.say({"id": 2, "method": "Emulation.setVisibleSize", "params": {"width": 1, "height": 1}, "sessionId": CHILD})

    a.connection.leave()

    assert methods(pipe, CHILD)[2:] == [
        "Emulation.setPageScaleFactor",
        "Emulation.setDeviceMetricsOverride",
        "Emulation.clearDeviceMetricsOverride",
    ]
    assert pipe.written[-1]["method"] == "Target.detachFromTarget"


async def test_what_a_session_takes_along_is_left_to_the_browser() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    child_appears(pipe, ROOT_A)
    a.say({"id": 1, "method": "Emulation.setTimezoneOverride", "params": {"timezoneId": "UTC"}, "sessionId": CHILD})
    a.say({"id": 2, "method": "Fetch.enable", "sessionId": CHILD})

    a.connection.leave()

    assert len(methods(pipe, CHILD)) == 2


async def test_a_page_that_waits_for_a_client_that_left_goes_on() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    child_appears(pipe, ROOT_A, waiting=True)
    child_appears(pipe, ROOT_A, OTHER_CHILD, target="U")

    a.connection.leave()

    assert methods(pipe, CHILD) == ["Runtime.runIfWaitingForDebugger"]
    assert methods(pipe, OTHER_CHILD) == []


async def test_an_open_dialog_is_dismissed_by_the_last_client_of_its_page() -> None:
    pipe = FakePipe()
    a, b = await attached(pipe, ROOT_A), await attached(pipe, ROOT_B)
    child_appears(pipe, ROOT_A)
    child_appears(pipe, ROOT_B, OTHER_CHILD)
    for place, session in ((a, CHILD), (b, OTHER_CHILD)):
        place.say({"id": 1, "method": "Page.enable", "sessionId": session})

    a.connection.leave()
    assert methods(pipe, CHILD) == ["Page.enable"]
    b.connection.leave()

    assert methods(pipe, OTHER_CHILD) == ["Page.enable", "Page.handleJavaScriptDialog"]


async def test_a_window_gets_its_size_back() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    for width in (10, 20):
        bounds = {"windowId": 7, "bounds": {"width": width}}
        a.say({"id": width, "method": "Browser.setWindowBounds", "params": bounds})
    assert len(pipe.commands("Browser.getWindowBounds")) == 1
    pipe.answer("Browser.getWindowBounds", {"bounds": {"left": 1, "width": 1280, "windowState": "maximized"}})

    a.connection.leave()

    restored = [command["params"]["bounds"] for command in pipe.commands("Browser.setWindowBounds")[2:]]
    assert restored == [{"windowState": "normal"}, {"left": 1, "width": 1280}, {"windowState": "maximized"}]
    assert [message["id"] for message in a.client.got] == []


async def test_sessions_that_are_gone_are_left_alone() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    child_appears(pipe, ROOT_A, waiting=True)
    a.say({"id": 1, "method": "Page.enable", "sessionId": CHILD})
    pipe.event("Target.detachedFromTarget", {"sessionId": CHILD}, session=ROOT_A)

    a.connection.leave()

    assert methods(pipe, CHILD) == ["Page.enable"]


async def test_a_client_of_a_page_speaks_to_it_without_a_session() -> None:
    pipe = FakePipe()
    place = Place(pipe, CdpAccess(target_id="T"))
    opening = await opened(pipe, place, "Target.attachToTarget")
    pipe.answer("Target.attachToTarget", {"sessionId": ROOT_A})
    await opening

    place.say({"id": 1, "method": "Page.enable"})
    place.say({"id": 2, "method": "Page.bringToFront"})
    pipe.event("Page.loadEventFired", {}, session=ROOT_A)

    assert place.actions == ["T"]
    assert methods(pipe, ROOT_A) == ["Page.enable", "Page.bringToFront"]
    assert place.client.got == [{"method": "Page.loadEventFired", "params": {}}]
    place.connection.leave()
    assert methods(pipe, ROOT_A)[2:] == ["Page.handleJavaScriptDialog"]


async def test_a_client_of_a_page_is_let_go_when_the_page_is_closed() -> None:
    pipe = FakePipe()
    place = Place(pipe, CdpAccess(target_id="T"))
    opening = await opened(pipe, place, "Target.attachToTarget")
    pipe.answer("Target.attachToTarget", {"sessionId": ROOT_A})
    await opening

    pipe.say(f'{{"method":"Target.detachedFromTarget","params":{{"sessionId":"{ROOT_A}","targetId":"T"}}}}')

    assert place.client.closed == (1000, "the page was closed")
    assert place.left == 1
    assert pipe.commands("Target.detachFromTarget") == []


async def test_a_client_that_floods_is_not_read_until_half_is_answered() -> None:
    pipe = FakePipe()
    a, b = await attached(pipe, ROOT_A), await attached(pipe, ROOT_B)
    for number in range(MOST_PENDING):
        assert not a.client.paused
        a.say({"id": number, "method": "Browser.getVersion"})
    assert a.client.paused
    assert not b.client.paused

    waiting = [command["id"] for command in pipe.commands("Browser.getVersion")]
    for number in waiting[: MOST_PENDING // 2 - 1]:
        pipe.say(f'{{"id":{number},"result":{{}},"sessionId":"{ROOT_A}"}}')
    assert a.client.paused
    pipe.say(f'{{"id":{waiting[-1]},"result":{{}},"sessionId":"{ROOT_A}"}}')

    assert not a.client.paused


async def test_reading_goes_on_when_every_reason_to_pause_is_gone() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    a.connection.hold("pipe")
    a.connection.hold("commands")
    a.connection.release("pipe")
    assert a.client.paused

    a.connection.release("commands")

    assert not a.client.paused
