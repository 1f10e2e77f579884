"""What people do in a real browser, through the real door."""

from contextlib import AsyncExitStack

from browser_node.adapters.chromium.browser import ChromiumBrowser
from tests.support.live import watching
from tests.support.live_people import FORM, STILL, a_person, an_agent, click
from tests.support.real_browsers import Host
from tests.support.waiting import until


async def test_a_person_types_into_a_form(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, FORM)
        person, tab = await a_person(stack, host, browser)
        await click(person, tab, 100, 50)
        await agent.until("document.activeElement.id", "t")

        for key in ("a", "B", "Enter", "c", "Backspace"):
            for action in ("down", "up"):
                await person.say("key", tab=tab, action=action, key=key)
        await person.say("text", tab=tab, text="漢字 🦊")
        await person.say("compose", tab=tab, text="に", selection_start=1, selection_end=1)
        await person.say("text", tab=tab, text="日")
        await agent.until("t.value", "aB\n漢字 🦊日")

        for modifiers in (2, 4):
            await person.say("key", tab=tab, action="down", key="a", code="KeyA", modifiers=modifiers)
            await person.say("copy", tab=tab)
            await person.sees(lambda viewer: viewer.last("clipboard"))
            assert (person.last("clipboard") or {})["text"] == "aB\n漢字 🦊日"
            person.events.clear()
        await person.say("edit", tab=tab, command="cut")
        await agent.until("t.value", "")
        await person.say("key", tab=tab, action="down", key="v", code="KeyV", modifiers=2)
        await person.say("edit", tab=tab, command="paste")
        await agent.until("t.value", "aB\n漢字 🦊日" * 2)
        await person.say("edit", tab=tab, command="undo")
        await agent.until("t.value", "aB\n漢字 🦊日")


async def test_a_person_scrolls_and_answers_dialogs(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, FORM)
        person, tab = await a_person(stack, host, browser)
        watcher = await stack.enter_async_context(watching(host.live_url()))
        for accept in (True, False):
            await click(person, tab, 100, 150)
            await watcher.sees(lambda viewer: viewer.last("dialog"))
            late = await stack.enter_async_context(watching(host.live_url()))
            await late.sees(lambda viewer: viewer.last("dialog"))
            assert late.last("dialog") == {
                "type": "dialog",
                "tab": tab,
                "kind": "confirm",
                "message": "Sure?",
                "default_text": "",
            }
            await person.say("dialog", tab=tab, accept=accept)
            await watcher.sees(lambda viewer: viewer.last("dialog_closed"))
            await agent.until("document.title", str(accept).lower())
            watcher.events.clear()

        person.events.clear()
        await click(person, tab, 100, 250)
        await person.sees(lambda viewer: viewer.last("dialog"))
        asked = person.last("dialog") or {}
        assert (asked["kind"], asked["message"], asked["default_text"]) == ("prompt", "Name?", "you")
        await person.say("dialog", tab=tab, accept=True, text="漢字")
        await agent.until("document.title", "漢字")
        await click(person, tab, 50, 350)
        await watcher.sees(lambda viewer: viewer.last("file_chooser"))
        assert watcher.last("file_chooser") == {"type": "file_chooser", "tab": tab, "multiple": False}
        await person.say("wheel", tab=tab, x=0.5, y=0.5, dy=400)
        await agent.until("scrollY", 400)


async def test_a_dialog_is_left_to_the_client_that_answers_it(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, STILL)
        await agent.run("Page.enable")
        async with watching(host.live_url()) as viewer:
            await viewer.tab()
            asking = await agent.client.send(
                "Runtime.evaluate", {"expression": "document.title = confirm('Sure?')"}, agent.page
            )
            await viewer.sees(lambda viewer: viewer.last("dialog"))
        await until(lambda: browser.viewer_count == 0)

        await agent.client.send("Page.handleJavaScriptDialog", {"accept": True}, agent.page)

        await agent.client.answer(asking)
        assert await agent.value("document.title") == "true"


async def test_a_click_hits_what_the_person_saw_whatever_the_viewport(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        agent = await an_agent(stack, host, FORM)
        person, tab = await a_person(stack, host, browser)
        await agent.run("Emulation.setDeviceMetricsOverride", width=800, height=1200, deviceScaleFactor=2, mobile=False)
        await agent.value("onmousedown = event => document.title = [event.clientX, event.clientY]")
        await person.sees(lambda viewer: viewer.frames[-1].page_width == 800)
        assert (person.frames[-1].width, person.frames[-1].height) == (480, 720)

        await person.say("mouse_button", tab=tab, action="down", x=0.75, y=0.5)

        await agent.until("document.title", "600,600")


async def test_a_person_uses_the_address_bar_and_tabs(host: Host, browser: ChromiumBrowser) -> None:
    async with AsyncExitStack() as stack:
        await an_agent(stack, host, STILL)
        person, tab = await a_person(stack, host, browser)

        await person.say("navigate", tab=tab, url="data:text/html,<title>second</title>")
        await person.sees(lambda viewer: (viewer.active() or {}).get("title") == "second")
        await person.say("back", tab=tab)
        await person.sees(lambda viewer: (viewer.active() or {}).get("title") == "still")
        await person.say("forward", tab=tab)
        await person.sees(lambda viewer: (viewer.active() or {}).get("title") == "second")
        await person.say("reload", tab=tab)
        for url in ("file:///etc/hostname", " fi\tle:///etc/hostname", "view-source:file:///"):
            await person.say("navigate", tab=tab, url=url)
            await person.sees(lambda viewer: (viewer.last("error") or {}).get("code") == "url_refused")
            await person.say("tab_new", url=url)
            person.events[:] = [event for event in person.events if event["type"] != "error"]
            await person.sees(lambda viewer: (viewer.last("error") or {}).get("code") == "url_refused")
            person.events[:] = [event for event in person.events if event["type"] != "error"]
        await person.say("tab_new", url=STILL)
        await person.sees(lambda viewer: (viewer.active() or {}).get("title") == "still")
        other = await person.tab()
        assert other != tab
        await person.say("tab_activate", tab=tab)
        await person.sees(lambda viewer: viewer.frames[-1].tab == tab)
        await person.say("tab_close", tab=other)
        await person.sees(lambda viewer: len(viewer.tabs()) == 1)
        await person.say("tab_close", tab=tab)
        await person.sees(lambda viewer: (viewer.last("error") or {}).get("code") == "last_tab")
