"""Asking a solver service, and what an operator can say about it."""

import json
import logging
import sys
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from browser_node.adapters.captcha.challenge import Challenge, ChallengeKind, NotSolved, Sighting
from browser_node.adapters.captcha.offline_solver import OfflineSolver, SolverMissing
from browser_node.adapters.captcha.settings import read_captcha_solver
from browser_node.adapters.captcha.solver_service import SolverService
from fleetkit.settings import Secret, SettingsError, SettingsReader
from tests.support.captcha_service import KEY, CaptchaService

RECAPTCHA = Challenge(kind=ChallengeKind.RECAPTCHA_V2, page_url="https://shop.example/in", site_key="6LcTestTest")
IMAGE = Challenge(kind=ChallengeKind.IMAGE, page_url="https://shop.example/in", image=b"PNG")
READY = {"status": "ready", "solution": {"gRecaptchaResponse": "token"}}


class Wire:
    """A SolverService on a service in memory; `failures` are raised instead of an answer, in order."""

    def __init__(self) -> None:
        self.service = CaptchaService()
        self.failures: list[httpx.HTTPError] = []
        self.http = httpx.AsyncClient(transport=httpx.MockTransport(self._answer))

    def solver(self, **changes: Any) -> SolverService:  # any field of the settings
        changes = {"url": "https://solver.example", "poll_interval": timedelta(milliseconds=1), **changes}
        return SolverService(self.http, self.service.settings(**changes))

    def _answer(self, request: httpx.Request) -> httpx.Response:
        if self.failures:
            raise self.failures.pop(0)
        assert KEY not in str(request.url)
        body = self.service.reply_to(request.url.path.removeprefix("/"), json.loads(request.content))
        if body.startswith(b"HTTP "):
            return httpx.Response(int(body[5:8]))
        return httpx.Response(200, content=body)


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    wire = Wire()
    async with wire.http:
        yield wire


async def test_an_answer_is_waited_for(wire: Wire) -> None:
    assert await wire.solver().solve(RECAPTCHA) == "token-recaptcha"
    assert await wire.solver().solve(IMAGE) == "w7pk"
    assert [method for method, _ in wire.service.requests] == ["createTask", "getTaskResult", "getTaskResult"] * 2
    assert wire.service.tasks == [
        {"type": "RecaptchaV2TaskProxyless", "websiteURL": "https://shop.example/in", "websiteKey": "6LcTestTest"},
        {"type": "ImageToTextTask", "body": "UE5H"},
    ]


async def test_an_answer_in_the_first_reply_is_taken(wire: Wire) -> None:
    wire.service.replies.append({"errorId": 0, "taskId": "a-name", **READY})
    assert await wire.solver().solve(RECAPTCHA) == "token"
    assert len(wire.service.requests) == 1


@pytest.mark.parametrize(
    "busy",
    [
        {"errorId": 1, "errorCode": "ERROR_NO_SLOT_AVAILABLE"},
        b"HTTP 503 Service Unavailable",
        b"HTTP 429 Too Many Requests",
    ],
)
async def test_a_busy_service_is_asked_again(wire: Wire, busy: bytes | dict[str, object]) -> None:
    wire.service.replies.extend([busy, busy])
    assert await wire.solver().solve(RECAPTCHA) == "token-recaptcha"
    assert len(wire.service.tasks) == 3


async def test_a_task_whose_creation_is_not_heard_of_is_not_made_twice(wire: Wire) -> None:
    wire.failures.append(httpx.ConnectError("refused"))
    assert await wire.solver().solve(RECAPTCHA) == "token-recaptcha"
    wire.failures.append(httpx.ReadTimeout("nothing"))
    with pytest.raises(NotSolved, match="unreachable"):
        await wire.solver().solve(RECAPTCHA)
    assert len(wire.service.tasks) == 1


async def test_a_refused_key_is_reported_once_and_the_service_left_alone(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    solver = wire.solver(key=Secret("another-key"))
    with pytest.raises(NotSolved, match="ERROR_KEY_DOES_NOT_EXIST"):
        await solver.solve(RECAPTCHA)
    with pytest.raises(NotSolved, match="solver-refuses"):
        await solver.solve(RECAPTCHA)
    assert len(wire.service.requests) == 1
    assert [record.levelno for record in caplog.records if record.name.startswith("browser_node")] == [logging.ERROR]
    assert "another-key" not in caplog.text


async def test_a_task_that_failed_is_not_tried_again(wire: Wire) -> None:
    wire.service.replies.extend([{"taskId": 1}, {"errorId": 12, "errorCode": "ERROR_CAPTCHA_UNSOLVABLE"}])
    with pytest.raises(NotSolved, match="ERROR_CAPTCHA_UNSOLVABLE"):
        await wire.solver().solve(RECAPTCHA)
    assert len(wire.service.requests) == 2


async def test_a_service_that_never_answers_is_given_up(wire: Wire) -> None:
    wire.service.replies.append({"taskId": 1})
    wire.service.replies.extend([{"status": "processing"}] * 100_000)
    with pytest.raises(NotSolved, match="timeout"):
        await wire.solver(timeout=timedelta(milliseconds=100)).solve(RECAPTCHA)


@pytest.mark.parametrize(
    "garbage",
    [
        b"<html>",
        b"[]",
        b"\xff",
        b"[" * 200_000,
        b" " * (1 << 20),
        {"errorId": 0},
        {"errorId": "none"},
        {"taskId": [1]},
        {"errorId": 0, "status": "ready"},
        {"errorId": 0, "status": "ready", "solution": {}},
        {"errorId": 0, "status": "ready", "solution": {"token": "with a blank"}},
        {"errorId": 0, "status": "ready", "solution": {"token": "x" * 10_000}},
        {"errorId": 0, "status": "ready", "solution": {"token": 17}},
    ],
)
async def test_garbage_is_no_answer(wire: Wire, garbage: bytes | dict[str, object]) -> None:
    wire.service.replies.append(garbage)
    with pytest.raises(NotSolved, match="garbage"):
        await wire.solver().solve(RECAPTCHA)


async def test_text_of_an_image_is_short_and_printable(wire: Wire) -> None:
    for text in ("", "x" * 65, "a\x00b"):
        wire.service.replies.append({"status": "ready", "solution": {"text": text}})
        with pytest.raises(NotSolved, match="garbage"):
            await wire.solver().solve(IMAGE)


async def test_an_unknown_error_code_is_not_repeated_in_the_log(wire: Wire) -> None:
    wire.service.replies.append({"errorId": 1, "errorCode": "x\nforged line"})
    with pytest.raises(NotSolved, match=r"^ERROR_UNKNOWN$"):
        await wire.solver().solve(RECAPTCHA)


async def test_the_offline_solver_reads_images_only() -> None:
    class Reader:
        def classification(self, img: bytes) -> str:
            return img.decode().lower()

    solver = OfflineSolver(Reader())
    assert await solver.solve(IMAGE) == "png"
    with pytest.raises(NotSolved, match="offline"):
        await solver.solve(RECAPTCHA)
    broken = Challenge(kind=ChallengeKind.IMAGE, page_url="https://shop.example/", image=b"\xff")
    with pytest.raises(NotSolved, match="unreadable"):
        await solver.solve(broken)


async def test_a_missing_offline_solver_names_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ddddocr", None)
    with pytest.raises(SolverMissing, match=r"browserfleet-browser-node\[captcha-offline\]"):
        await OfflineSolver.open()


def test_a_pages_report_is_taken_with_care() -> None:
    facts: dict[str, Any] = {"number": 1, "kind": ChallengeKind.HCAPTCHA, "origin": "https://a.example", "path": "/x"}
    assert Sighting(**facts, siteKey="10000000-ffff").challenge().page_url == "https://a.example/x"
    assert (
        Sighting(**{**facts, "path": "/x?token=1#y"}, siteKey="10000000").challenge().page_url == "https://a.example/x"
    )
    for wrong in (
        {"siteKey": ""},
        {"siteKey": "a key"},
        {"siteKey": "10000000", "origin": "file://"},
        {"siteKey": "10000000", "origin": "http://["},
        {"siteKey": "10000000", "origin": "http://"},
        {"siteKey": "10000000", "path": "@evil.example/"},
        {"kind": ChallengeKind.IMAGE, "image": "https://a.example/x.png"},
        {"kind": ChallengeKind.IMAGE, "image": "data:image/png;base64,***"},
        {"kind": ChallengeKind.IMAGE, "image": "data:image/png;base64,"},
    ):
        with pytest.raises(ValueError):
            Sighting(**{**facts, **wrong}).challenge()


def settings_of(**variables: str) -> Any:  # settings, or nothing
    reader = SettingsReader({f"FLEET_CAPTCHA_SOLVER{name}": value for name, value in variables.items()})
    settings = read_captcha_solver(reader)
    reader.finish()
    return settings


def test_settings_name_a_service_or_the_offline_solver() -> None:
    assert settings_of() is None
    assert settings_of(**{"": "offline"}).url is None
    service = settings_of(
        **{"": "https://solver.example", "_KEY": "k", "_TASK_TYPES": "turnstile=AntiTurnstileTaskProxyLess"}
    )
    assert service.task_types[ChallengeKind.TURNSTILE] == "AntiTurnstileTaskProxyLess"
    assert service.task_types[ChallengeKind.IMAGE] == "ImageToTextTask"
    assert "'k'" not in repr(service)
    assert settings_of(**{"": "http://127.0.0.1:8080/api", "_KEY": "k"}).url == "http://127.0.0.1:8080/api"


@pytest.mark.parametrize(
    ("variables", "fault"),
    [
        ({"": "https://solver.example"}, "FLEET_CAPTCHA_SOLVER_KEY: is required"),
        ({"": "http://solver.example", "_KEY": "k"}, "plaintext"),
        ({"": "ftp://solver.example", "_KEY": "k"}, "must be offline, or a URL"),
        ({"": "https://u:p@solver.example", "_KEY": "k"}, "must be offline, or a URL"),
        ({"": "https://[", "_KEY": "k"}, "must be offline, or a URL"),
        ({"": "offline", "_KEY": "k"}, "of no use"),
        ({"_KEY": "k"}, "of no use"),
        ({"": "offline", "_TASK_TYPES": "recaptcha-v9=X"}, "must be pairs"),
        ({"": "offline", "_TASKS_PER_SESSION": "0"}, "at least 1"),
    ],
)
def test_wrong_settings_stop_the_start(variables: dict[str, str], fault: str) -> None:
    with pytest.raises(SettingsError, match=fault):
        settings_of(**variables)
