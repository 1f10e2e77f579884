"""Whatever clients send: nothing raises, nothing that was refused reaches the browser, nobody hears what is another's."""

import asyncio
import json
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from browser_node.adapters.chromium.cdp.command_filter import RULES
from browser_node.adapters.chromium.cdp.observing import OBSERVABLE
from tests.support.cdp import FakePipe, Place, attached

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_METHODS = st.sampled_from([*RULES, *sorted(OBSERVABLE), "Runtime.evaluate", "Extensions.loadUnpacked"]) | st.text()
_COMMANDS = st.fixed_dictionaries(
    {"id": st.integers() | st.text(max_size=3), "method": _METHODS},
    optional={"params": _JSON, "sessionId": st.text() | st.just("A" * 32), "extra": _JSON},
)
_MESSAGES = (
    st.binary()
    | st.text().map(str.encode)
    | _JSON.map(lambda value: json.dumps(value).encode())
    | _COMMANDS.map(lambda value: json.dumps(value).encode())
    | _COMMANDS.flatmap(
        lambda value: st.integers(0, 60).map(lambda cut: json.dumps(value).encode()[:cut])  # cut off anywhere
    )
)


@settings(max_examples=60, deadline=None)
@given(messages=st.lists(_MESSAGES, max_size=12), is_observer=st.booleans())
def test_any_message_is_answered_or_sent_on_or_ends_its_client(messages: list[bytes], is_observer: bool) -> None:
    async def run() -> None:
        pipe = FakePipe()
        place = await attached(pipe, "A" * 32, is_observer=is_observer)
        for message in messages:
            written, got = len(pipe.raw), len(place.client.got)
            place.connection.receive(message)
            answered = len(place.client.got) - got
            sent = [command for command in pipe.written[written:] if command.get("sessionId") == "A" * 32]
            if place.left:
                # `Browser.close` is answered first; what is no command is not.
                assert place.client.closed is not None
                return
            assert answered + len(sent) == 1
            assert all(b"\0" not in raw for raw in pipe.raw)
            for raw in pipe.raw[written:]:
                assert set(msgspec.json.decode(raw)) <= {"id", "method", "params", "sessionId"}
            if is_observer:
                assert all(_may_pass(command) for command in sent)

    asyncio.run(run())


def _may_pass(command: dict[str, Any]) -> bool:
    rewritten = {"Page.captureScreenshot", "Target.attachToTarget", "Target.autoAttachRelated", "Target.setAutoAttach"}
    return command["method"] in OBSERVABLE | rewritten


# Who acts, and what happens: a command, an answer to the oldest or the newest open one, an event, a new session.
_STEPS = st.lists(
    st.tuples(st.integers(0, 3), st.sampled_from(["command", "below", "oldest", "newest", "event", "session"])),
    max_size=60,
)


@settings(max_examples=50, deadline=None)
@given(steps=_STEPS)
def test_every_answer_and_event_finds_its_client_and_nobody_else(steps: list[tuple[int, str]]) -> None:
    async def run() -> None:
        pipe = FakePipe()
        roots = [f"{number:032X}" for number in range(1, 5)]
        places = [await attached(pipe, root) for root in roots]
        play = _Play(pipe, places, roots)
        for who, what in steps:
            getattr(play, what)(who)
        play.check()

    asyncio.run(run())


class _Play:
    """Does what the steps say, and knows what each client has to hear."""

    def __init__(self, pipe: FakePipe, places: list[Place], roots: list[str]) -> None:
        self._pipe = pipe
        self._places = places
        self._roots = roots
        self._sessions: list[list[str]] = [[root] for root in roots]
        self._expected: list[list[tuple[object, ...]]] = [[] for _ in places]
        # Open commands: ID at the browser, client, its own ID, its session below the root.
        self._open: list[tuple[int, int, int, str | None]] = []
        self._count = 0

    def command(self, who: int) -> None:
        self._send(who, None)

    def below(self, who: int) -> None:
        """A command in the newest session of the client; another client tries the same session."""
        session = self._sessions[who][-1]
        if session == self._roots[who]:
            return
        stranger = (who + 1) % len(self._places)
        self._places[stranger].say({"id": 9, "method": "Runtime.evaluate", "sessionId": session})
        self._expected[stranger].append(("refused", 9))
        self._send(who, session)

    def _send(self, who: int, session: str | None) -> None:
        self._count += 1
        own_id = self._count % 3
        message = {"id": own_id, "method": "Runtime.evaluate"}
        self._places[who].say(message if session is None else {**message, "sessionId": session})
        self._open.append((self._pipe.written[-1]["id"], who, own_id, session))

    def oldest(self, who: int) -> None:
        if self._open:
            self._answer(self._open.pop(0))

    def newest(self, who: int) -> None:
        if self._open:
            self._answer(self._open.pop())

    def _answer(self, command: tuple[int, int, int, str | None]) -> None:
        their_id, who, own_id, session = command
        self._count += 1
        self._pipe.say(
            f'{{"id":{their_id},"result":{{"n":{self._count}}},"sessionId":"{session or self._roots[who]}"}}'
        )
        self._expected[who].append(("answer", own_id, self._count, session))

    def event(self, who: int) -> None:
        session = self._sessions[who][-1]
        self._count += 1
        self._pipe.event("Some.event", {"n": self._count}, session=session)
        self._expected[who].append(("event", self._count, None if session == self._roots[who] else session))

    def session(self, who: int) -> None:
        self._count += 1
        session = f"{self._count + 16:032X}"
        info = {"targetId": "T", "type": "page"}
        self._pipe.event(
            "Target.attachedToTarget", {"sessionId": session, "targetInfo": info}, session=self._sessions[who][-1]
        )
        parent = self._sessions[who][-1]
        self._sessions[who].append(session)
        self._expected[who].append(("session", session, None if parent == self._roots[who] else parent))

    def check(self) -> None:
        for place, expected, roots in zip(self._places, self._expected, self._roots, strict=True):
            assert [_seen(message) for message in place.client.got] == expected
            assert all(roots not in json.dumps(message) for message in place.client.got)


def _seen(message: dict[str, Any]) -> tuple[object, ...]:
    session = message.get("sessionId")
    if "error" in message:
        return ("refused", message["id"])
    if "result" in message:
        return ("answer", message["id"], message["result"]["n"], session)
    if message["method"] == "Some.event":
        return ("event", message["params"]["n"], session)
    return ("session", message["params"]["sessionId"], session)
