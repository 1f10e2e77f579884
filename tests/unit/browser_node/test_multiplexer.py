import asyncio

import pytest

from browser_node.adapters.chromium.cdp.multiplexer import CdpError
from browser_node.adapters.chromium.cdp.node_session import NodeSession
from browser_node.adapters.chromium.cdp.pipe import MessageSplitter
from tests.support.cdp import CHILD, ROOT_A, ROOT_B, FakePipe, Place, attached, child_appears, opened
from tests.support.waiting import until


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_messages_are_found_however_the_stream_is_cut(size: int) -> None:
    stream = b"one\0\0three\0" + b"x" * 50 + b"\0rest"
    splitter = MessageSplitter()

    messages = [
        message for start in range(0, len(stream), size) for message in splitter.feed(stream[start : start + size])
    ]

    assert messages == [b"one", b"", b"three", b"x" * 50]
    assert splitter.feed(b"\0") == [b"rest"]


async def test_each_client_gets_its_own_ids_back() -> None:
    pipe = FakePipe()
    a, b = await attached(pipe, ROOT_A), await attached(pipe, ROOT_B)
    a.say({"id": 1, "method": "Target.getTargets"})
    b.say({"id": 1, "method": "Browser.getVersion"})

    pipe.answer("Browser.getVersion", {"of": "b"})
    pipe.answer("Target.getTargets", {"of": "a"})

    assert a.client.got == [{"id": 1, "result": {"of": "a"}}]
    assert b.client.got == [{"id": 1, "result": {"of": "b"}}]
    assert pipe.commands("Target.getTargets")[0]["sessionId"] == ROOT_A


async def test_negative_ids_and_parameters_come_through_unchanged() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)

    a.say({"id": -9999, "method": "Runtime.evaluate", "params": {"expression": "“ü”\\"}})
    pipe.answer("Runtime.evaluate")

    assert pipe.commands("Runtime.evaluate")[0]["params"] == {"expression": "“ü”\\"}
    assert a.client.got == [{"id": -9999, "result": {}}]


async def test_what_was_said_before_the_browser_was_joined_is_not_lost() -> None:
    pipe = FakePipe()
    place = Place(pipe)
    opening = await opened(pipe, place)
    place.say({"id": 5, "method": "Browser.getVersion"})

    pipe.answer("Target.attachToBrowserTarget", {"sessionId": ROOT_A})
    await opening
    pipe.answer("Browser.getVersion")

    assert place.client.got == [{"id": 5, "result": {}}]


async def test_events_go_to_the_owner_of_their_session() -> None:
    pipe = FakePipe()
    a, b = await attached(pipe, ROOT_A), await attached(pipe, ROOT_B)
    child_appears(pipe, ROOT_A)

    pipe.event("Page.loadEventFired", {}, session=CHILD)

    assert [message["method"] for message in a.client.got] == ["Target.attachedToTarget", "Page.loadEventFired"]
    assert "sessionId" not in a.client.got[0]
    assert a.client.got[1]["sessionId"] == CHILD
    assert b.client.got == []


async def test_a_session_of_another_client_looks_as_if_it_did_not_exist() -> None:
    pipe = FakePipe()
    a, b = await attached(pipe, ROOT_A), await attached(pipe, ROOT_B)
    child_appears(pipe, ROOT_A)

    b.say({"id": 3, "method": "Runtime.evaluate", "sessionId": CHILD})

    assert b.client.got == [{"id": 3, "error": {"code": -32001, "message": "Session with given id not found."}}]
    assert pipe.commands("Runtime.evaluate") == []
    a.say({"id": 3, "method": "Runtime.evaluate", "sessionId": CHILD})
    assert len(pipe.commands("Runtime.evaluate")) == 1


async def test_a_session_that_was_detached_is_forgotten() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    child_appears(pipe, ROOT_A)
    pipe.event("Target.detachedFromTarget", {"sessionId": CHILD, "targetId": "T"}, session=ROOT_A)

    a.say({"id": 3, "method": "Runtime.evaluate", "sessionId": CHILD})

    assert a.client.got[-1]["error"]["code"] == -32001


@pytest.mark.parametrize(
    "message",
    [
        b"not json",
        b"[]",
        b'{"method":"Browser.getVersion"}',
        b'{"id":"1","method":"Browser.getVersion"}',
        b'{"id":1}',
        b'{"id":18446744073709551616,"method":"Browser.getVersion"}',
        b'{"id":1,"method":"x","params":"\0"}',
        b'{"id":1,"method":"x","params":' + b"[" * 10_000 + b"]" * 10_000 + b"}",
        b'{"id":1,"method":"x"} {"id":2,"method":"Browser.crash"}',
        b'{"id":1,/**/"method":"x"}',
    ],
)
async def test_what_is_no_command_ends_only_the_client_that_sent_it(message: bytes) -> None:
    pipe = FakePipe()
    a, b = await attached(pipe, ROOT_A), await attached(pipe, ROOT_B)

    a.connection.receive(message)

    assert a.client.closed is not None
    assert a.client.closed[0] == 1007
    assert a.left == 1
    assert pipe.commands("Target.detachFromTarget")[0]["params"] == {"sessionId": ROOT_A}
    b.say({"id": 1, "method": "Browser.getVersion"})
    pipe.answer("Browser.getVersion")
    assert b.client.got == [{"id": 1, "result": {}}]


@pytest.mark.parametrize(
    "message",
    [
        b'{"id":1,"method":"\\u0042rowser.crash"}',
        b'{"id":1,"method":"Runtime.evaluate","method":"Browser.crash"}',
        b'{ "id" : 1 , "method" : "Browser.crash" }',
        b'{"id":1,"\\u006dethod":"Browser.crash"}',
    ],
)
async def test_the_filter_is_not_fooled_by_how_a_command_is_written(message: bytes) -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)

    a.connection.receive(message)

    assert a.client.got[0]["error"]["code"] == -32000
    assert pipe.commands("Browser.crash") == []


async def test_of_duplicate_members_the_browser_gets_one() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)

    a.connection.receive(b'{"id":1,"method":"Browser.crash","method":"Browser.getVersion","id":2}')

    assert pipe.raw[-1].count(b'"method"') == 1
    assert b"crash" not in pipe.raw[-1]


async def test_browser_close_is_answered_and_detaches_only_the_client() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)

    a.say({"id": 9, "method": "Browser.close"})

    assert a.client.got == [{"id": 9, "result": {}}]
    assert a.client.closed is not None
    assert a.client.closed[0] == 1000
    assert pipe.commands("Browser.close") == []
    assert a.left == 1


async def test_a_client_that_leaves_takes_its_session_and_its_contexts_along() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    a.say({"id": 1, "method": "Target.createBrowserContext"})
    pipe.answer("Target.createBrowserContext", {"browserContextId": "kept-by-chrome-otherwise"})
    a.say({"id": 2, "method": "Target.createBrowserContext", "params": {"disposeOnDetach": True}})
    pipe.answer("Target.createBrowserContext", {"browserContextId": "disposed-by-chrome"})

    a.connection.leave()
    a.connection.leave()

    assert a.contexts == ["kept-by-chrome-otherwise", "disposed-by-chrome"]
    assert [c["params"] for c in pipe.commands("Target.disposeBrowserContext")] == [
        {"browserContextId": "kept-by-chrome-otherwise"}
    ]
    assert len(pipe.commands("Target.detachFromTarget")) == 1
    assert a.left == 1


async def test_a_context_that_comes_up_after_its_client_left_is_disposed_of() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    a.say({"id": 1, "method": "Target.createBrowserContext"})
    a.connection.leave()

    pipe.answer("Target.createBrowserContext", {"browserContextId": "late"})

    assert pipe.commands("Target.disposeBrowserContext")[0]["params"] == {"browserContextId": "late"}
    assert a.client.got == []


async def test_the_page_that_a_client_acts_on_is_told() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    child_appears(pipe, ROOT_A)

    a.say({"id": 1, "method": "Page.bringToFront", "sessionId": CHILD})

    assert a.actions == ["T"]


async def test_what_a_client_says_is_input() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    pipe.multiplexer.last_input = 0.0

    a.say({"id": 1, "method": "Browser.getVersion"})

    assert pipe.multiplexer.last_input > 0


async def test_what_the_node_and_the_browser_say_is_no_input() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    pipe.multiplexer.last_input = 0.0
    session = NodeSession(pipe.multiplexer, lambda message: None)
    opening = asyncio.create_task(session.open())
    await until(lambda: len(pipe.commands("Target.attachToBrowserTarget")) == 2)
    pipe.answer("Target.attachToBrowserTarget", {"sessionId": ROOT_B})
    await opening

    session.tell("Page.screencastFrameAck")
    pipe.multiplexer.tell("Browser.getVersion", {})
    pipe.event("Page.loadEventFired", {}, session=ROOT_A)
    a.connection.leave()

    assert pipe.multiplexer.last_input == 0


async def test_pending_calls_of_an_ended_browser_are_answered_with_the_reason() -> None:
    pipe = FakePipe()
    a = await attached(pipe, ROOT_A)
    a.say({"id": 4, "method": "Browser.getVersion"})
    waiting = asyncio.create_task(pipe.multiplexer.call("Target.getTargets"))
    await until(lambda: pipe.commands("Target.getTargets"))

    pipe.multiplexer.end("session closed: TIMED_OUT")

    assert a.client.got == [{"id": 4, "error": {"code": -32000, "message": "session closed: TIMED_OUT"}}]
    with pytest.raises(CdpError, match="TIMED_OUT"):
        await waiting
    with pytest.raises(CdpError, match="ended"):
        await pipe.multiplexer.call("Target.getTargets")
