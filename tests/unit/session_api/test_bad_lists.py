"""Lists and watches against the bad-input matrix: exact codes and reasons."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from browserfleet.node.v1 import node_service_pb2
from browserfleet.organization.v1 import organization_service_pb2
from browserfleet.session.v1 import session_service_pb2
from browserfleet.usage.v1 import usage_service_pb2
from session_api.domain.identifiers import OrganizationId
from session_api.usecases.queries import SessionQuery
from tests.unit.session_api.entry import Entry, Metadata
from tests.unit.session_api.messages import a_list, filtered, reason_of
from tests.unit.session_api.refusals import (
    INVALID,
    INVALID_PAGE_TOKEN,
    Attempt,
    Refusal,
    refusal_of,
    see_refused,
)

_INVALID_RESUME_TOKEN: Refusal = ("INVALID_ARGUMENT", "INVALID_RESUME_TOKEN")


async def _watch(entry: Entry, token: str, *, key: Metadata | None = None) -> session_service_pb2.WatchSessionsResponse:
    request = session_service_pb2.WatchSessionsRequest(resume_token=token)
    call = entry.door.sessions.WatchSessions(request, metadata=key or entry.member, timeout=10)
    try:
        return await anext(aiter(call))
    finally:
        call.cancel()


async def _usage(entry: Entry, **fields: object) -> object:
    request = usage_service_pb2.ListUsageRecordsRequest(**fields)  # type: ignore[arg-type]  # wrong on purpose
    return await entry.call(entry.door.usage.ListUsageRecords, request, key=entry.admin)


async def _usage_of(entry: Entry, **fields: object) -> object:
    return await _usage(entry, filter=usage_service_pb2.UsageFilter(**fields))  # type: ignore[arg-type]  # wrong


async def _sum(entry: Entry, label: str) -> object:
    request = usage_service_pb2.SumUsageRequest(group_by_label=label)
    return await entry.call(entry.door.usage.SumUsage, request, key=entry.admin)


async def _export(entry: Entry, form: int) -> object:
    request = usage_service_pb2.ExportUsageRequest(format=form)  # type: ignore[arg-type]  # wrong on purpose
    return await anext(aiter(entry.door.usage.ExportUsage(request, metadata=entry.admin, timeout=10)))


# Page tokens are checked alike wherever there are pages.
_PAGED: dict[str, Callable[[Entry, int, str], Awaitable[object]]] = {
    "sessions": lambda e, size, token: e.list(a_list(page_size=size, page_token=token)),
    "nodes": lambda e, size, token: e.call(
        e.door.nodes.ListNodes,
        node_service_pb2.ListNodesRequest(page_size=size, page_token=token),
        key=e.service,
    ),
    "organizations": lambda e, size, token: e.call(
        e.door.organizations.ListOrganizations,
        organization_service_pb2.ListOrganizationsRequest(page_size=size, page_token=token),
        key=e.service,
    ),
    "keys": lambda e, size, token: e.call(
        e.door.organizations.ListApiKeys,
        organization_service_pb2.ListApiKeysRequest(organization_id="o_acme", page_size=size, page_token=token),
        key=e.admin,
    ),
    "usage records": lambda e, size, token: _usage(e, page_size=size, page_token=token),
}

_ATTEMPTS: dict[str, tuple[Attempt, Refusal]] = {
    # 23: lists
    "an order that is SQL is refused": (
        lambda e: e.list(a_list(order_by="create_time; DROP TABLE fleet.session")),
        INVALID,
    ),
    "an order by another field is refused": (lambda e: e.list(a_list(order_by="state")), INVALID),
    "an order in capitals is refused": (lambda e: e.list(a_list(order_by="create_time DESC")), INVALID),
    "an order by two fields is refused": (lambda e: e.list(a_list(order_by="create_time, expire_time")), INVALID),
    "an order with a blank at its end is refused": (lambda e: e.list(a_list(order_by="create_time ")), INVALID),
    "an unknown state is refused": (lambda e: e.list(filtered(states=[99])), INVALID),
    "nine states are refused": (lambda e: e.list(filtered(states=[1] * 9)), INVALID),
    "an unknown browser type is refused": (lambda e: e.list(filtered(browser_types=[99])), INVALID),
    "17 labels are refused": (
        lambda e: e.list(filtered(labels={f"name-{number}": "" for number in range(17)})),
        INVALID,
    ),
    "a node ID of 65 characters is refused": (lambda e: e.list(filtered(node_id="n" * 65)), INVALID),
    "an instant after the year 9999 is refused": (
        lambda e: e.list(filtered(expire_before=Timestamp(seconds=2**62))),
        INVALID,
    ),
    "an instant before the year 1 is refused": (
        lambda e: e.list(filtered(create_after=Timestamp(seconds=-(2**62)))),
        INVALID,
    ),
    "an instant with wrong nanoseconds is refused": (
        lambda e: e.list(filtered(due_before=Timestamp(nanos=-1))),
        INVALID,
    ),
    # 24: watches
    "a forged resume token is refused": (lambda e: _watch(e, "Zm9yZ2Vk"), _INVALID_RESUME_TOKEN),
    "a resume token of 1025 characters is refused": (lambda e: _watch(e, "x" * 1025), INVALID),
    # Usage
    "an organization ID in capitals is refused": (lambda e: _usage_of(e, organization_id="o_ACME"), INVALID),
    "an end that no calendar has is refused": (
        lambda e: _usage_of(e, end_before=Timestamp(seconds=2**62)),
        INVALID,
    ),
    "17 labels of usage are refused": (
        lambda e: _usage_of(e, labels={f"name-{number}": "" for number in range(17)}),
        INVALID,
    ),
    "a label of 64 characters is refused": (lambda e: _sum(e, "n" * 64), INVALID),
    "an unknown format is refused": (lambda e: _export(e, 99), INVALID),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_list(entry: Entry, sentence: str) -> None:
    attempt, expected = _ATTEMPTS[sentence]
    await see_refused(entry, attempt, expected)


@pytest.mark.parametrize("what", list(_PAGED))
async def test_bad_page(entry: Entry, what: str) -> None:
    page = _PAGED[what]
    await see_refused(entry, lambda e: page(e, -1, ""), INVALID)
    await see_refused(entry, lambda e: page(e, 0, "x" * 1025), INVALID)
    for token in ("x", "Zm9yZ2Vk", "é", "\0", "A" * 1024):
        await see_refused(entry, lambda e, token=token: page(e, 0, token), INVALID_PAGE_TOKEN)  # type: ignore[misc]  # the default binds it
    # Signed by us, for something else.
    foreign = entry.plane.page_tokens.sign("pbs_1", query="something else")
    await see_refused(entry, lambda e: page(e, 0, foreign), INVALID_PAGE_TOKEN)
    await page(entry, 10**9, "")


async def test_a_page_token_belongs_to_its_query(entry: Entry) -> None:
    token = (await entry.list(a_list(page_size=1))).next_page_token
    narrow = session_service_pb2.SessionFilter(node_id="nod_x")
    for attempt in (
        entry.list(a_list(page_token=token), key=entry.stranger),
        entry.list(a_list(page_token=token), key=entry.service),
        entry.list(a_list(page_token=token, filter=narrow)),
        entry.list(a_list(page_token=token, order_by="create_time")),
    ):
        assert reason_of(await refusal_of(attempt)) == "INVALID_PAGE_TOKEN"
    assert len((await entry.list(a_list(page_token=token, page_size=1000))).sessions) == 1


async def test_a_page_token_and_a_resume_token_are_no_good_for_each_other(entry: Entry) -> None:
    page_token = (await entry.list(a_list(page_size=1))).next_page_token
    await see_refused(entry, lambda e: _watch(e, page_token), _INVALID_RESUME_TOKEN)
    query = f"watch {SessionQuery(organization_id=OrganizationId('o_acme'))}"
    resume_token = entry.plane.page_tokens.sign("[1, 2]", query=query)
    await see_refused(entry, lambda e: e.list(a_list(page_token=resume_token)), INVALID_PAGE_TOKEN)


async def test_a_resume_token_that_is_too_old_asks_for_a_new_watch(entry: Entry) -> None:
    request = session_service_pb2.WatchSessionsRequest()
    call = entry.door.sessions.WatchSessions(request, metadata=entry.member, timeout=10)
    news = aiter(call)
    while not (token := (await anext(news)).resume_token):
        pass
    call.cancel()
    entry.fleet.clock.step(timedelta(hours=24, microseconds=1))
    refusal = await refusal_of(_watch(entry, token))
    assert (refusal.code().name, reason_of(refusal)) == ("OUT_OF_RANGE", "RESUME_TOKEN_EXPIRED")
