"""People who watch and act, in one real browser, through the real door."""

import asyncio
import json
import time
from contextlib import AsyncExitStack
from datetime import timedelta

import av
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from browser_node.adapters.chromium.browser import ChromiumBrowser
from browser_node.domain.browser import CloseReason
from tests.support.live import TestViewer, watching
from tests.support.live_people import FORM, MOVING, STILL, a_person, an_agent
from tests.support.node_fakes import SESSION
from tests.support.real_browsers import Host
from tests.support.waiting import until


def rate(viewer: TestViewer, since: int, seconds: float) -> float:
    return (len(viewer.frames) - since) / seconds


async def test_two_viewers_see_a_page_move_each_at_its_own_pace(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        await an_agent(stack, host, MOVING)
        fast = await stack.enter_async_context(watching(host.live_url()))
        slow = await stack.enter_async_context(watching(host.live_url()))
        await fast.say("quality", fps=20)
        await slow.say("quality", fps=2)
        await fast.tab()
        await slow.tab()
        counts = len(fast.frames), len(slow.frames)
        await asyncio.sleep(2)

        assert rate(slow, counts[1], 2) <= 2.5
        assert rate(fast, counts[0], 2) > 2 * rate(slow, counts[1], 2)
        assert rate(fast, counts[0], 2) <= 22
        assert len({frame.jpeg for frame in fast.frames}) > len(fast.frames) / 2
        assert browser.viewer_count == 2
        assert host.browsers.running()[0].viewer_count == 2
    await until(lambda: browser.viewer_count == 0)


async def test_a_viewer_that_acknowledges_nothing_gets_two_pictures_and_stalls_nobody(
    host: Host, browser: ChromiumBrowser
) -> None:
    async with AsyncExitStack() as stack:
        await an_agent(stack, host, MOVING)
        silent = await stack.enter_async_context(watching(host.live_url(), acks=False))
        good = await stack.enter_async_context(watching(host.live_url()))
        await good.sees(lambda viewer: len(viewer.frames) > 15)

        assert len(silent.frames) == 2
        silent.acks = True
        await silent.say("ack", seq=silent.frames[-1].seq)
        await silent.sees(lambda viewer: len(viewer.frames) > 4)
        # What it missed it never gets: the next picture is a new one.
        assert silent.frames[2].taken_ms - silent.frames[1].taken_ms > 200


async def test_a_viewer_that_reads_nothing_stalls_nobody(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        await an_agent(stack, host, MOVING)
        deaf = await stack.enter_async_context(connect(host.live_url(), max_size=None))
        deaf.transport.pause_reading()
        good = await stack.enter_async_context(watching(host.live_url()))

        await good.sees(lambda viewer: len(viewer.frames) > 20)
        deaf.transport.abort()


async def test_a_still_page_sends_what_it_ends_up_looking_like_and_then_nothing(
    host: Host, browser: ChromiumBrowser
) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, MOVING)
        viewers = [await stack.enter_async_context(watching(host.live_url())) for _ in range(2)]
        for viewer, fps in zip(viewers, (25, 3), strict=True):
            await viewer.say("quality", fps=fps)
            await viewer.tab()
        await agent.run("Page.navigate", url=STILL)
        for viewer in viewers:
            await viewer.sees(lambda viewer: (tab := viewer.active()) and tab["title"] == "still")
        await asyncio.sleep(1)
        counts = [len(viewer.frames) for viewer in viewers]
        await asyncio.sleep(1)

        assert [len(viewer.frames) for viewer in viewers] == counts
        # Both have the same last picture, and it is what a fresh viewer gets first.
        fresh = await stack.enter_async_context(watching(host.live_url()))
        await fresh.tab()
        assert len({viewer.frames[-1].jpeg for viewer in (*viewers, fresh)}) == 1


async def test_viewers_follow_the_tab_that_is_used_and_may_choose_another(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, MOVING)
        follower = await stack.enter_async_context(watching(host.live_url()))
        chooser = await stack.enter_async_context(watching(host.live_url()))
        first = await follower.tab()
        await chooser.tab()

        created = await agent.client.call("Target.createTarget", {"url": STILL})
        await follower.sees(lambda viewer: viewer.frames[-1].tab != first)
        await follower.sees(lambda viewer: (tab := viewer.active()) and tab["title"] == "still")
        assert [tab["title"] for tab in follower.tabs()] == ["moving", "still"]
        await chooser.say("watch", tab=first)
        await chooser.sees(lambda viewer: viewer.frames[-1].tab == first)
        count = len(chooser.frames)

        # It is behind the other, and is seen moving all the same.
        await chooser.sees(lambda viewer: len(viewer.frames) > count + 5)
        assert follower.frames[-1].tab != first
        assert follower.active() == chooser.active()
        await agent.client.call("Target.closeTarget", {"targetId": created["targetId"]})
        await follower.sees(lambda viewer: viewer.frames[-1].tab == first)
        await follower.sees(lambda viewer: len(viewer.tabs()) == 1)


async def test_a_viewer_without_control_only_watches(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, FORM)
        viewer = await stack.enter_async_context(watching(host.live_url()))
        stale = await stack.enter_async_context(watching(host.live_url(control=1)))
        browser.set_control(2, held=True)
        for someone in (viewer, stale):
            await someone.sees(lambda viewer: (viewer.last("control") or {}).get("held"))
            assert someone.last("control") == {"type": "control", "held": True, "yours": False}
            tab = await someone.tab()
            await someone.say("navigate", tab=tab, url=STILL)
            await someone.sees(lambda viewer: viewer.last("error"))
            assert (someone.last("error") or {})["code"] == "control_not_held"

        assert await agent.value("document.title") == "form"
        count = len(viewer.frames)
        await agent.value("t.value = 'still watching'")
        await viewer.sees(lambda viewer: len(viewer.frames) > count)


async def test_control_passes_between_an_agent_and_people(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, FORM)
        one = await stack.enter_async_context(watching(host.live_url(control=1)))
        twin = await stack.enter_async_context(watching(host.live_url(control=1)))
        await agent.value("t.focus()")
        await agent.run("Input.insertText", text="agent ")

        host.browsers.set_control(SESSION, 1, 1, held=True)
        refusal = await agent.refusal("Input.insertText", text="no ")
        wrapped = json.dumps({"id": 1, "method": "Input.insertText", "params": {"text": "no "}})
        page = await agent.client.call("Target.getTargets")
        target = page["targetInfos"][0]["targetId"]
        nested = await agent.client.send("Target.sendMessageToTarget", {"targetId": target, "message": wrapped})
        assert "person has control" in refusal
        assert "person has control" in (await agent.client.answer(nested))["error"]["message"]
        for person in (one, twin):
            await person.sees(lambda viewer: (viewer.last("control") or {}).get("yours"))
            await person.say("text", tab=await person.tab(), text="person ")
        await agent.until("t.value", "agent person person ")
        assert browser.input_idle < timedelta(seconds=5)

        host.browsers.set_control(SESSION, 1, 2, held=True)
        await one.sees(lambda viewer: not (viewer.last("control") or {}).get("yours"))
        await one.say("text", tab=await one.tab(), text="late ")
        await one.sees(lambda viewer: viewer.last("error"))
        host.browsers.set_control(SESSION, 1, 2, held=False)
        await one.sees(lambda viewer: not (viewer.last("control") or {}).get("held"))

        await agent.run("Input.insertText", text="agent")
        assert await agent.value("t.value") == "agent person person agent"


async def test_a_crashed_page_is_told_and_comes_back(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, MOVING)
        person, tab = await a_person(stack, host, browser)

        await agent.client.send("Page.crash", {}, agent.page)
        await person.sees(lambda viewer: viewer.tabs()[0]["crashed"])
        await person.say("navigate", tab=tab, url=MOVING)
        await person.sees(lambda viewer: not viewer.tabs()[0]["crashed"])
        count = len(person.frames)
        await person.sees(lambda viewer: len(viewer.frames) > count + 5)


async def test_a_recording_keeps_its_pace_while_people_watch(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        viewer = await stack.enter_async_context(watching(host.live_url()))
        await viewer.say("quality", fps=25, width=640, height=360)
        async with AsyncExitStack() as run:
            await an_agent(run, host, MOVING)
            await viewer.tab()
            started = time.monotonic()
            await asyncio.sleep(2)
            seconds = time.monotonic() - started

        (item,) = await host.artifacts(1)
    with av.open(str(item.path)) as container:
        frames = list(container.decode(video=0))
    assert 2 * seconds <= len(frames) <= float(frames[-1].time or 0) * 5 + 5
    assert frames[-1].width > 640


async def test_a_session_that_ends_tells_its_viewers_why(host: Host, browser: ChromiumBrowser) -> None:
    async with watching(host.live_url()) as viewer:
        await viewer.tab()

        await host.browsers.stop(SESSION, 1, CloseReason.TIMED_OUT)

        await viewer.sees(lambda viewer: viewer.closed)
        assert viewer.closed == (1001, "session closed: TIMED_OUT")
        assert viewer.last("ended") == {"type": "ended", "reason": "session closed: TIMED_OUT"}


async def test_wrong_messages_are_answered_or_end_only_their_viewer(host: Host, browser: ChromiumBrowser) -> None:
    async with watching(host.live_url()) as good:
        await good.socket.send("nonsense")
        await good.sees(lambda viewer: (viewer.last("error") or {}).get("code") == "invalid_command")
        await good.socket.send(['{"type":"wat', 'ch","tab":', "77}"])
        await good.sees(lambda viewer: (viewer.last("error") or {}).get("code") == "no_such_tab")
        for message, code in ((b"binary", 1003), ("x" * (1 << 20) + "x", 1009)):
            async with watching(host.live_url()) as bad:
                await bad.socket.send(message)
                await bad.sees(lambda viewer: viewer.closed)
                assert bad.closed is not None
                assert bad.closed[0] == code
        await good.tab()


async def test_the_live_view_needs_its_own_token_and_takes_sixteen(host: Host, browser: ChromiumBrowser) -> None:
    full = host.url().split("token=")[1]
    view = host.live_url().split("token=")[1]
    async with AsyncExitStack() as stack:
        for url, status in (
            (f"ws://127.0.0.1:{host.port}/live/{SESSION}", 401),
            (f"ws://127.0.0.1:{host.port}/live/{SESSION}?token={full}", 403),
            (f"ws://127.0.0.1:{host.port}/live/{SESSION}/more?token={view}", 404),
            (f"ws://127.0.0.1:{host.port}/attach/{SESSION}?token={view}", 403),
        ):
            with pytest.raises(InvalidStatus) as caught:
                await stack.enter_async_context(connect(url))
            assert caught.value.response.status_code == status, url
        for _ in range(16):
            await stack.enter_async_context(watching(host.live_url()))
        await until(lambda: browser.viewer_count == 16)
        with pytest.raises(InvalidStatus) as caught:
            await stack.enter_async_context(connect(host.live_url()))
        assert caught.value.response.status_code == 429
