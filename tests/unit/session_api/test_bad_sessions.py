"""Verbs of a session against the bad-input matrix: exact codes and reasons."""

import pytest
from google.protobuf.duration_pb2 import Duration

from browserfleet.artifact.v1 import artifact_service_pb2
from browserfleet.session.v1 import session_pb2, session_service_pb2
from tests.support.fleet_builders import a_session_id
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.refusals import INVALID, NOT_FOUND, NOT_OPEN, SCOPE, Attempt, Refusal, see_refused

_MINUTE = Duration(seconds=60)


def _occupy(**changes: object) -> Attempt:
    fields: dict[str, object] = {"holder_kind": session_pb2.HOLDER_KIND_TASK, "holder_id": "run-1"}
    return lambda e: e.call(
        e.door.sessions.OccupySession,
        session_service_pb2.OccupySessionRequest(**{"session_id": e.running} | fields | changes),  # type: ignore[arg-type]  # wrong on purpose
    )


def _release(generation: int) -> Attempt:
    return lambda e: e.call(
        e.door.sessions.ReleaseSession,
        session_service_pb2.ReleaseSessionRequest(session_id=e.running, generation=generation),
    )


def _take(**changes: object) -> Attempt:
    return lambda e: e.call(
        e.door.sessions.TakeControl,
        session_service_pb2.TakeControlRequest(**{"session_id": e.running, "holder": "Ada"} | changes),  # type: ignore[arg-type]  # wrong on purpose
    )


def _hand_back(generation: int) -> Attempt:
    return lambda e: e.call(
        e.door.sessions.ReleaseControl,
        session_service_pb2.ReleaseControlRequest(session_id=e.running, generation=generation),
    )


_ATTEMPTS: dict[str, tuple[Attempt, Refusal]] = {
    # 20: IDs
    "an empty ID is refused": (lambda e: e.get(""), INVALID),
    "an ID of another kind is refused": (lambda e: e.get("nod_" + "0" * 26), INVALID),
    "an ID in capitals is refused": (lambda e: e.get("pbs_" + "A" * 26), INVALID),
    "an ID that is too short is refused": (lambda e: e.get("pbs_" + "0" * 25), INVALID),
    "an ID that ends its line is refused": (lambda e: e.get(f"{e.running}\n"), INVALID),
    "an ID with a NUL is refused": (lambda e: e.get(f"{e.running[:-1]}\0"), INVALID),
    "an ID of a megabyte is refused": (lambda e: e.get("pbs_" + "0" * 2**20), INVALID),
    "SQL is no ID": (lambda e: e.close("pbs_'; DROP TABLE session; --"), INVALID),
    "a path is no ID": (lambda e: e.extend("pbs_/../../etc/passwd", _MINUTE), INVALID),
    "a holder needs an ID of a session": (_occupy(session_id="x"), INVALID),
    "a person needs an ID of a session": (_take(session_id="x"), INVALID),
    "a reaper needs an ID of a session": (lambda e: e.reap("x"), INVALID),
    # 21: ends
    "a session that never was is not found": (lambda e: e.get(a_session_id()), NOT_FOUND),
    "a session that never was is not closed": (lambda e: e.close(a_session_id()), NOT_FOUND),
    "a session that never was is not reaped": (lambda e: e.reap(a_session_id()), NOT_FOUND),
    "a member does not reap": (lambda e: e.reap(e.running, key=e.member), SCOPE),
    # 22: extensions
    "an ended session is not extended": (lambda e: e.extend(e.closed, _MINUTE), NOT_OPEN),
    "an extension past the limit is refused": (
        lambda e: e.extend(e.running, Duration(seconds=86400)),
        ("OUT_OF_RANGE", "TIMEOUT_LIMIT"),
    ),
    "an extension by nothing is refused": (lambda e: e.extend(e.running, Duration()), INVALID),
    "an extension without a time is refused": (lambda e: e.extend(e.running, None), INVALID),
    "a shrinking extension is refused": (lambda e: e.extend(e.running, Duration(seconds=-60)), INVALID),
    "an extension by 90 seconds is refused": (lambda e: e.extend(e.running, Duration(seconds=90)), INVALID),
    "an extension by more than a day is refused": (lambda e: e.extend(e.running, Duration(seconds=86460)), INVALID),
    # Holders
    "an ended session is not held": (lambda e: _occupy(session_id=e.closed)(e), NOT_OPEN),
    "a holder without an ID is refused": (_occupy(holder_id=""), INVALID),
    "a holder ID of 129 characters is refused": (_occupy(holder_id="x" * 129), INVALID),
    "a holder ID with a blank is refused": (_occupy(holder_id="a b"), INVALID),
    "a holder ID that is not ASCII is refused": (_occupy(holder_id="ä"), INVALID),
    "a holder ID that ends its line is refused": (_occupy(holder_id="a\n"), INVALID),
    "a holder ID with a NUL is refused": (_occupy(holder_id="a\0"), INVALID),
    "a holder without a kind is refused": (_occupy(holder_kind=0), INVALID),
    "a holder of an unknown kind is refused": (_occupy(holder_kind=99), INVALID),
    "a holding of less than 10 seconds is refused": (_occupy(ttl=Duration(seconds=9)), INVALID),
    "a holding of 0 seconds is refused": (_occupy(ttl=Duration()), INVALID),
    "a holding of more than a day is refused": (_occupy(ttl=Duration(seconds=86401)), INVALID),
    "a release of no generation is refused": (_release(0), INVALID),
    "a release of a negative generation is refused": (_release(-1), INVALID),
    # People
    "an ended session is not controlled": (lambda e: _take(session_id=e.closed)(e), NOT_OPEN),
    "a person without a name is refused": (_take(holder=""), INVALID),
    "a name of 129 characters is refused": (_take(holder="ü" * 129), INVALID),
    "a name with a line feed is refused": (_take(holder="Ada\n"), INVALID),
    "a name with a NUL is refused": (_take(holder="A\0a"), INVALID),
    "control for less than 10 seconds is refused": (_take(idle_timeout=Duration(seconds=9)), INVALID),
    "control for more than an hour is refused": (_take(idle_timeout=Duration(seconds=3601)), INVALID),
    "control of no generation is not handed back": (_hand_back(0), INVALID),
    "control of a negative generation is not handed back": (_hand_back(-(2**63)), INVALID),
    # Artifacts
    "uploads are served elsewhere": (
        lambda e: e.door.artifacts.UploadArtifact(iter(()), metadata=e.member, timeout=10),
        ("UNIMPLEMENTED", "SERVED_ELSEWHERE"),
    ),
    "an absent artifact-store is said to be absent": (
        lambda e: e.call(
            e.door.artifacts.ListArtifacts, artifact_service_pb2.ListArtifactsRequest(session_id=e.running)
        ),
        ("UNAVAILABLE", "ARTIFACT_STORE_UNAVAILABLE"),
    ),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_verb(entry: Entry, sentence: str) -> None:
    attempt, expected = _ATTEMPTS[sentence]
    await see_refused(entry, attempt, expected)


@pytest.mark.parametrize("attempt", [_release(2**63 - 1), _hand_back(2**63 - 1)])
async def test_giving_back_what_one_does_not_have_is_no_fault(entry: Entry, attempt: Attempt) -> None:
    assert await attempt(entry)


async def test_closing_what_is_closed_is_no_fault(entry: Entry) -> None:
    assert (await entry.close(entry.closed)).state == session_pb2.Session.STATE_CLOSED
