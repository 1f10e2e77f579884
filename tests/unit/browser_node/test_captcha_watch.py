"""What a captcha watch makes of what pages report, whatever that is."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from browser_node.adapters.captcha.challenge import Challenge, NotSolved
from browser_node.adapters.captcha.watch import BrowserWatch
from tests.support.captcha_service import CaptchaService
from tests.support.cdp import FakePipe
from tests.support.waiting import until

ROOT, PAGE = "A" * 32, "B" * 32


class FakeSolver:
    """A Solver that answers when a test lets it."""

    def __init__(self) -> None:
        self.asked: list[Challenge] = []
        self.answers: asyncio.Queue[str | None] = asyncio.Queue()

    async def solve(self, challenge: Challenge) -> str:
        self.asked.append(challenge)
        answer = await self.answers.get()
        if answer is None:
            raise NotSolved("unsolvable")
        return answer


class Watched:
    """A browser with one page, that a watch looks at."""

    def __init__(self) -> None:
        self.pipe = FakePipe()
        self.solver = FakeSolver()
        self.settings = CaptchaService().settings(tasks_per_session=3)
        self.watch = BrowserWatch(self.pipe.multiplexer, self.solver, self.settings)

    async def open(self) -> None:
        opening = asyncio.create_task(self.watch.open())
        await until(lambda: self.pipe.commands("Target.attachToBrowserTarget"))
        self.pipe.answer("Target.attachToBrowserTarget", {"sessionId": ROOT})
        await until(lambda: self.pipe.commands("Target.setAutoAttach"))
        self.pipe.answer("Target.setAutoAttach")
        await opening
        info = {"targetId": "T", "type": "page", "title": "", "url": "", "attached": True}
        self.pipe.event("Target.attachedToTarget", {"sessionId": PAGE, "targetInfo": info}, session=ROOT)

    def report(self, payload: object, *, name: str = "fleetCaptchaFound") -> None:
        text = payload if isinstance(payload, str) else json.dumps(payload)
        call = {"name": name, "payload": text, "executionContextId": 7}
        self.pipe.event("Runtime.bindingCalled", call, session=PAGE)

    async def evaluated(self, count: int) -> None:
        await until(lambda: len(self.pipe.commands("Runtime.evaluate")) >= count)


def a_sighting(number: int, **changes: object) -> dict[str, object]:
    sighting = {"number": number, "kind": "hcaptcha", "origin": "https://a.example", "path": "/", "siteKey": "10000000"}
    return {**sighting, **changes}


@pytest.fixture
async def watched() -> AsyncIterator[Watched]:
    watched = Watched()
    await watched.open()
    yield watched
    await watched.watch.close()


async def test_every_page_gets_the_script_in_a_world_of_its_own(watched: Watched) -> None:
    (added,) = watched.pipe.commands("Page.addScriptToEvaluateOnNewDocument")
    (binding,) = watched.pipe.commands("Runtime.addBinding")
    assert added["params"]["worldName"] == binding["params"]["executionContextName"]
    assert added["params"]["runImmediately"] is True
    assert watched.pipe.commands("Target.setAutoAttach")[-1]["params"]["filter"] == [{"type": "iframe"}]


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "[]",
        "{",
        "[" * 100_000,
        {"number": 1},
        a_sighting(1, kind="audio"),
        a_sighting(1, siteKey="'); steal('"),
        a_sighting(1, origin="javascript:"),
        a_sighting(1, path="/" * 5_000),
        a_sighting(1, kind="image", image="data:image/png;base64,not"),
    ],
)
async def test_a_report_that_makes_no_sense_is_left_alone(watched: Watched, payload: object) -> None:
    watched.report(payload)
    watched.report(a_sighting(2), name="another")
    watched.report(a_sighting(3))
    await watched.evaluated(1)
    assert "isWaiting(3)" in watched.pipe.commands("Runtime.evaluate")[0]["params"]["expression"]


async def test_no_more_tasks_are_paid_for_than_a_session_may_have(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    answered = 0
    for number in range(100):
        watched.report(a_sighting(number))
    # Two at once; each is asked whether it waits, and the solver then has no answer.
    while caplog.text.count("session-limit") + caplog.text.count("unsolvable") < 30:
        for command in watched.pipe.commands("Runtime.evaluate")[answered:]:
            watched.pipe.say(json.dumps({"id": command["id"], "result": {"result": {"value": True}}, "sessionId": PAGE}, separators=(",", ":")))  # fmt: skip
            watched.solver.answers.put_nowait(None)
            answered += 1
        await asyncio.sleep(0)
    assert len(watched.solver.asked) == 3
    # Of the rest of what the page made up nothing is even looked at.
    assert answered == 30


async def test_a_page_that_has_left_gets_no_answer(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    watched.report(a_sighting(1))
    await watched.evaluated(1)
    failed: dict[str, Any] = {"result": {"type": "object"}, "exceptionDetails": {"text": "gone"}}
    watched.pipe.answer("Runtime.evaluate", failed)
    await until(lambda: "a captcha: page-left" in caplog.text)
    assert not watched.solver.asked


async def test_a_closed_watch_gives_up_what_is_under_way(watched: Watched) -> None:
    watched.report(a_sighting(1))
    await watched.evaluated(1)
    watched.pipe.answer("Runtime.evaluate", {"result": {"value": True}})
    await until(lambda: watched.solver.asked)
    await watched.watch.close()
    watched.solver.answers.put_nowait("token")
    await asyncio.sleep(0)
    assert len(watched.pipe.commands("Runtime.evaluate")) == 1
