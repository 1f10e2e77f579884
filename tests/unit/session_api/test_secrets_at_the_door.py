"""Secrets that a caller gives: no answer, no event, no log and no refusal holds them."""

import logging

import pytest
from google.protobuf.message import Message

from browserfleet.session.v1 import session_service_pb2
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.messages import a_creation, a_list
from tests.unit.session_api.refusals import refusal_of

_CANARY = "canary-4711"
_SPEC = {
    "headers": {"Authorization": f"Bearer {_CANARY}"},
    "proxy": {"url": "http://proxy.example:3128", "username": "u", "password": _CANARY},
}


def _shows(*seen: object) -> bool:
    return any(
        _CANARY.encode() in (value.SerializeToString() if isinstance(value, Message) else repr(value).encode())
        for value in seen
    )


async def test_no_answer_no_event_and_no_log_holds_a_secret(entry: Entry, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    created = await entry.create(a_creation(spec=_SPEC, request_id="once"))
    assert dict(created.spec.headers) == {"Authorization": ""}
    assert (created.spec.proxy.username, created.spec.proxy.password) == ("u", "")
    again = await entry.create(a_creation(spec=_SPEC, request_id="once"))
    assert again.id == created.id
    listed = await entry.list(a_list())
    watch = entry.door.sessions.WatchSessions(
        session_service_pb2.WatchSessionsRequest(), metadata=entry.member, timeout=60
    )
    watched = await anext(aiter(watch))
    watch.cancel()
    database = entry.fleet.database
    answers = (created, again, await entry.get(created.id), listed, watched)
    assert not _shows(*answers, database.outbox, database.sessions(), caplog.text)
    assert not _shows(*(session.sealed_secrets for session in database.sessions()))
    assert not _shows(await entry.close(created.id))


@pytest.mark.parametrize(
    "spec",
    [
        {"headers": {"a": f"{_CANARY}\r\n"}},
        {"headers": {"Cookie": _CANARY}},
        {"proxy": {"url": "http://proxy.example:3128", "password": f"{_CANARY}\0"}},
        {"proxy": {"url": f"http://u:{_CANARY}@proxy.example:3128"}},
        {"start_url": f"http://u:{_CANARY}@example.com/"},
        {**_SPEC, "proxy_location": "US"},
        {**_SPEC, "extensions": ["absent"]},
    ],
)
async def test_no_refusal_holds_a_secret(
    entry: Entry, spec: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    refusal = await refusal_of(entry.create(a_creation(spec=spec)))
    assert not _shows(refusal.details(), refusal.trailing_metadata(), caplog.text)
