"""UsageService as admins and services see it when they ask well."""

import csv
import io
import json
from datetime import timedelta

import pytest

from browserfleet.usage.v1 import usage_service_pb2
from session_api.domain.session import SessionState
from tests.support.fleet_builders import NOON, OTHER_ORGANIZATION, a_caller
from tests.unit.session_api.entry import Entry, Metadata
from tests.unit.session_api.fleet import a_request

_HOUR = timedelta(hours=1)


@pytest.fixture
async def entry(entry: Entry) -> Entry:
    """Three sessions of one organization have ended by now, one of them at once, and one of another one."""
    fleet = entry.fleet
    theirs = a_caller(organization_id=OTHER_ORGANIZATION)
    sessions = [
        await fleet.create(request=a_request(labels={"team": "qa"})),
        await fleet.create(caller=theirs),
    ]
    fleet.clock.step(timedelta(minutes=10))
    await fleet.close(sessions[0])
    await fleet.close(sessions[1], caller=theirs)
    fleet.clock.step(timedelta(minutes=10))
    (running,) = [row for row in fleet.database.sessions() if row.state is SessionState.RUNNING]
    await fleet.close(running)
    return entry


async def _list(entry: Entry, key: Metadata, **fields: object) -> usage_service_pb2.ListUsageRecordsResponse:
    request = usage_service_pb2.ListUsageRecordsRequest(**fields)  # type: ignore[arg-type]  # fields
    return await entry.call(entry.door.usage.ListUsageRecords, request, key=key)


async def _export(entry: Entry, **fields: object) -> str:
    request = usage_service_pb2.ExportUsageRequest(**fields)  # type: ignore[arg-type]  # fields
    call = entry.door.usage.ExportUsage(request, metadata=entry.admin, timeout=10)
    return b"".join([piece.data async for piece in call]).decode()


async def test_records_are_listed_page_by_page(entry: Entry) -> None:
    found, token = [], ""
    for _ in range(3):
        answer = await _list(entry, entry.admin, page_size=1, page_token=token)
        found += list(answer.usage_records)
        token = answer.next_page_token
    assert (len(found), token) == (3, "")
    ended, labelled, running = found
    assert ended.used.ToTimedelta() == timedelta(0)
    assert (dict(labelled.labels), labelled.used.ToTimedelta()) == ({"team": "qa"}, timedelta(minutes=10))
    assert (running.session_id, running.epoch, running.organization_id) == (entry.running, 1, "o_acme")
    assert running.start_time.ToDatetime(tzinfo=NOON.tzinfo) == NOON + _HOUR
    assert running.end_time.ToDatetime(tzinfo=NOON.tzinfo) == NOON + _HOUR + timedelta(minutes=20)


async def test_a_filter_narrows_by_everything_that_it_names(entry: Entry) -> None:
    narrow = usage_service_pb2.UsageFilter(organization_id="o_acme", labels={"team": "qa"})
    narrow.end_after.FromDatetime(NOON + _HOUR)
    narrow.end_before.FromDatetime(NOON + 2 * _HOUR)
    (record,) = (await _list(entry, entry.service, filter=narrow)).usage_records
    assert dict(record.labels) == {"team": "qa"}
    narrow.end_after.FromDatetime(NOON + 2 * _HOUR)
    assert len((await _list(entry, entry.service, filter=narrow)).usage_records) == 0


async def test_another_organizations_usage_is_an_operators_alone(entry: Entry) -> None:
    narrow = usage_service_pb2.UsageFilter(organization_id="o_other")
    theirs = (await _list(entry, entry.service, filter=narrow)).usage_records
    assert [record.organization_id for record in theirs] == ["o_other"]
    seen = (await _list(entry, entry.admin, filter=narrow)).usage_records
    assert {record.organization_id for record in seen} == {"o_acme"}


async def test_usage_is_summed_up_by_organization_and_label(entry: Entry) -> None:
    request = usage_service_pb2.SumUsageRequest(group_by_label="team")
    answer = await entry.call(entry.door.usage.SumUsage, request, key=entry.service)
    totals = [
        (row.organization_id, row.label_value, row.record_count, row.used.ToTimedelta() / timedelta(minutes=1))
        for row in answer.totals
    ]
    assert totals == [("o_acme", "", 2, 20), ("o_acme", "qa", 1, 10), ("o_other", "", 1, 10)]


@pytest.mark.parametrize("form", [0, usage_service_pb2.ExportUsageRequest.FORMAT_CSV])
async def test_an_export_is_csv_by_default(entry: Entry, form: int) -> None:
    header, *lines = csv.reader(io.StringIO(await _export(entry, format=form), newline=""))
    assert header[0] == "session_id"
    assert [line[5] for line in lines] == ["0.000000", "600.000000", "1200.000000"]


async def test_an_export_is_json_on_request(entry: Entry) -> None:
    text = await _export(entry, format=usage_service_pb2.ExportUsageRequest.FORMAT_JSON_LINES)
    assert [json.loads(line)["seconds"] for line in text.splitlines()] == [0.0, 600.0, 1200.0]
