"""CreateSession against the bad-input matrix: exact codes and reasons."""

from datetime import timedelta

import pytest
from google.protobuf.duration_pb2 import Duration

from browserfleet.browser.v1 import browser_pb2
from fleetkit.errors import InvalidArgument
from fleetkit.rpc.status import from_rpc_error
from session_api.domain.organization import Limits, Organization
from session_api.usecases.admission import QueuePolicy
from tests.support.fleet_builders import ORGANIZATION
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.messages import a_creation, lasting, metadata_of, reason_of, retry_after
from tests.unit.session_api.refusals import INVALID, Attempt, Refusal, refusal_of, see_refused

_NOT_AT_ALL = Duration()


def _labelled(name: str, value: str = "v") -> Attempt:
    return lambda e: e.create(a_creation(labels={name: value}))


_ATTEMPTS: dict[str, tuple[Attempt, Refusal]] = {
    # 7: lifetimes
    "a timeout of 0 is refused": (lambda e: e.create(lasting(0)), INVALID),
    "a timeout of minus 1 is refused": (lambda e: e.create(lasting(-1)), INVALID),
    "a timeout of 4 minutes is refused": (lambda e: e.create(lasting(4)), INVALID),
    "a timeout of 1441 minutes is refused": (lambda e: e.create(lasting(1441)), INVALID),
    "a timeout of five and a half minutes is refused": (lambda e: e.create(lasting(5.5)), INVALID),
    "a timeout of 2^63 seconds is refused": (
        lambda e: e.create(a_creation(timeout=Duration(seconds=2**63 - 1))),
        INVALID,
    ),
    "a timeout with wrong nanoseconds is refused": (
        lambda e: e.create(a_creation(timeout=Duration(seconds=600, nanos=-1))),
        INVALID,
    ),
    "a queue timeout below 0 is refused": (
        lambda e: e.create(a_creation(queue_timeout=Duration(seconds=-1))),
        INVALID,
    ),
    "a queue timeout of more than an hour is refused": (
        lambda e: e.create(a_creation(queue_timeout=Duration(seconds=3600, nanos=1))),
        INVALID,
    ),
    "an idle timeout below 10 seconds is refused": (
        lambda e: e.create(a_creation(idle_timeout=Duration(seconds=9, nanos=999_999_999))),
        INVALID,
    ),
    "an idle timeout of 0 is refused": (lambda e: e.create(a_creation(idle_timeout=Duration())), INVALID),
    "an idle timeout of more than a day is refused": (
        lambda e: e.create(a_creation(idle_timeout=Duration(seconds=86401))),
        INVALID,
    ),
    "an unknown idle activity is refused": (lambda e: e.create(a_creation(idle_activity=99)), INVALID),
    "an unknown way of waiting is refused": (lambda e: e.create(a_creation(wait=99)), INVALID),
    # 8, 9: browsers
    "an unknown browser type is refused": (
        lambda e: e.create(a_creation(spec=browser_pb2.BrowserSpec(browser_type=99))),  # type: ignore[arg-type]  # wrong
        INVALID,
    ),
    "a browser that no node has is refused": (
        lambda e: e.create(a_creation(spec=browser_pb2.BrowserSpec(browser_type=browser_pb2.BROWSER_TYPE_MSEDGE))),
        ("FAILED_PRECONDITION", "NO_CAPABLE_NODE"),
    ),
    # 15: labels
    "17 labels are refused": (
        lambda e: e.create(a_creation(labels={f"name-{number}": "" for number in range(17)})),
        INVALID,
    ),
    "100 labels are refused": (
        lambda e: e.create(a_creation(labels={f"name-{number}": "" for number in range(100)})),
        INVALID,
    ),
    "a label without a name is refused": (_labelled(""), INVALID),
    "a label name of 64 characters is refused": (_labelled("n" * 64), INVALID),
    "a label name with a blank is refused": (_labelled("a b"), INVALID),
    "a label name that begins with a dot is refused": (_labelled(".a"), INVALID),
    "a label name that ends with a slash is refused": (_labelled("a/"), INVALID),
    "a label name that is not ASCII is refused": (_labelled("ä"), INVALID),
    "a label name that ends its line is refused": (_labelled("a\n"), INVALID),
    "a label name with a quote is refused": (_labelled("a'b"), INVALID),
    "a label value of 257 characters is refused": (_labelled("a", "v" * 257), INVALID),
    "a label value of 10 kB is refused": (_labelled("a", "v" * 10_000), INVALID),
    "a label value with a NUL is refused": (_labelled("a", "a\0b"), INVALID),
    "a label value with a line feed is refused": (_labelled("a", "v\n"), INVALID),
    "a label value with an escape is refused": (_labelled("a", "\x1b[31m"), INVALID),
    "a label value with a delete is refused": (_labelled("a", "a\x7f"), INVALID),
    # 16: idempotency keys
    "a request ID of 129 characters is refused": (lambda e: e.create(a_creation(request_id="x" * 129)), INVALID),
    "a request ID of 256 characters is refused": (lambda e: e.create(a_creation(request_id="x" * 256)), INVALID),
    "a request ID with a blank is refused": (lambda e: e.create(a_creation(request_id="a b")), INVALID),
    "a request ID with a NUL is refused": (lambda e: e.create(a_creation(request_id="a\0")), INVALID),
    "a request ID that is not ASCII is refused": (lambda e: e.create(a_creation(request_id="ä")), INVALID),
    "a request ID that ends its line is refused": (lambda e: e.create(a_creation(request_id="a\n")), INVALID),
    "a request ID of another request is refused": (
        lambda e: e.create(a_creation(request_id="taken", timeout=Duration(seconds=600))),
        ("ALREADY_EXISTS", "REQUEST_ID_REUSED"),
    ),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_create(entry: Entry, sentence: str) -> None:
    attempt, expected = _ATTEMPTS[sentence]
    await see_refused(entry, attempt, expected)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"timeout": Duration(seconds=60)}, {"timeout"}),
        ({"labels": {"a": "v" * 257, "b b": ""}}, {"labels"}),
        ({"request_id": "ä", "queue_timeout": Duration(seconds=-1)}, {"request_id", "queue_timeout"}),
        ({"spec": {"browser_type": 99}}, {"spec.browser_type"}),
    ],
)
async def test_a_refusal_names_every_field_that_is_wrong(
    entry: Entry, fields: dict[str, object], named: set[str]
) -> None:
    error = from_rpc_error(await refusal_of(entry.create(a_creation(**fields))))
    assert isinstance(error, InvalidArgument)
    assert set(error.fields) == named


async def test_a_timeout_out_of_range_is_told_the_range(entry: Entry) -> None:
    message = (await refusal_of(entry.create(lasting(4)))).details()
    assert message is not None
    assert "5m" in message or "300s" in message


# ---- 18: quotas and capacity


async def test_a_quota_of_open_sessions_is_told_from_a_full_fleet(entry: Entry) -> None:
    full = a_creation(queue_timeout=_NOT_AT_ALL)
    await entry.plane.organizations.update(Organization(id=ORGANIZATION, limits=Limits(max_open_sessions=2)), [])
    await entry.create(full)
    refusal = await refusal_of(entry.create(full))
    assert (refusal.code().name, reason_of(refusal)) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert metadata_of(refusal) == {"quota": "open_sessions", "limit": "2", "used": "2"}
    assert retry_after(refusal) is not None
    await entry.plane.organizations.update(Organization(id=ORGANIZATION), [])
    await entry.create(full)
    refusal = await refusal_of(entry.create(full))
    assert (refusal.code().name, reason_of(refusal)) == ("RESOURCE_EXHAUSTED", "NO_CAPACITY")
    assert retry_after(refusal) is not None


@pytest.mark.parametrize(
    ("limits", "quota", "wait"),
    [
        (Limits(max_creates_per_minute=0), "creates_per_minute", timedelta(minutes=1)),
        (Limits(max_minutes_per_day=0), "minutes_per_day", timedelta(hours=11)),
    ],
)
async def test_a_quota_that_waiting_in_the_queue_is_no_help_against_is_refused_at_once(
    entry: Entry, limits: Limits, quota: str, wait: timedelta
) -> None:
    await entry.plane.organizations.update(Organization(id=ORGANIZATION, limits=limits), [])
    refusal = await refusal_of(entry.create(a_creation()))
    assert (refusal.code().name, reason_of(refusal)) == ("RESOURCE_EXHAUSTED", "QUOTA_EXCEEDED")
    assert (metadata_of(refusal)["quota"], retry_after(refusal)) == (quota, wait)


@pytest.mark.parametrize("queue_policy", [QueuePolicy(limit=0)])
async def test_a_full_queue_says_when_to_try_again(entry: Entry) -> None:
    for _ in range(2):
        await entry.create(a_creation())
    refusal = await refusal_of(entry.create(a_creation()))
    assert (refusal.code().name, reason_of(refusal)) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    assert retry_after(refusal) is not None
