"""Usage, for whoever bills it: listed, summed up, exported."""

import csv
import io
import json
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from fleetkit.paging import PageRequest
from session_api.domain.caller import Caller, Scope
from session_api.domain.identifiers import OrganizationId
from session_api.domain.usage import UsageRecord, UsageTotal
from session_api.usecases.metering import ExportFormat
from session_api.usecases.queries import UsageQuery
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION, a_caller, a_session_id
from tests.unit.session_api.fleet import Fleet

_MINUTE = timedelta(minutes=1)
_ADMIN = a_caller(scope=Scope.ADMIN)
_SERVICE = a_caller(scope=Scope.SERVICE)
_EVERYTHING = UsageQuery()


def _record(
    *,
    organization_id: OrganizationId = ORGANIZATION,
    labels: Mapping[str, str] | None = None,
    end_time: datetime = NOON,
    used: timedelta = _MINUTE,
) -> UsageRecord:
    return UsageRecord(
        session_id=a_session_id(),
        epoch=1,
        organization_id=organization_id,
        labels=labels or {},
        start_time=end_time - used,
        end_time=end_time,
    )


async def _store(fleet: Fleet, *records: UsageRecord) -> None:
    async with fleet.database.transaction() as tx:
        for record in records:
            await tx.usage.add(record)


async def _export(
    fleet: Fleet, form: ExportFormat, *, caller: Caller = _ADMIN, query: UsageQuery = _EVERYTHING
) -> list[bytes]:
    return [piece async for piece in fleet.plane.metering.export(caller, query, form)]


# ---- records and sums


async def test_records_are_listed_by_the_end_of_their_sessions(fleet: Fleet) -> None:
    late, early = _record(end_time=NOON + _MINUTE), _record()
    await _store(fleet, late, early)
    first = await fleet.plane.metering.records(_ADMIN, _EVERYTHING, PageRequest(size=1))
    rest = await fleet.plane.metering.records(_ADMIN, _EVERYTHING, PageRequest(size=1, after=first.next_after))
    assert [*first.items, *rest.items] == [early, late]


async def test_a_record_that_is_written_again_adds_nothing(fleet: Fleet) -> None:
    record = _record()
    await _store(fleet, record, record)
    await _store(fleet, record)
    (total,) = await fleet.plane.metering.totals(_ADMIN, _EVERYTHING)
    assert (total.record_count, total.used) == (1, _MINUTE)


async def test_usage_is_narrowed_by_time_and_labels(fleet: Fleet) -> None:
    wanted = _record(labels={"team": "qa", "tier": "1"}, end_time=NOON)
    others = [
        _record(labels={"team": "dev"}),
        _record(labels={"team": "qa"}, end_time=NOON - timedelta(microseconds=1)),
        _record(labels={"team": "qa"}, end_time=NOON + _MINUTE),
    ]
    await _store(fleet, wanted, *others)
    query = UsageQuery(end_after=NOON, end_before=NOON + _MINUTE, labels={"team": "qa"})
    assert (await fleet.plane.metering.records(_ADMIN, query, PageRequest())).items == [wanted]


async def test_sums_are_made_by_organization_and_by_the_value_of_a_label(fleet: Fleet) -> None:
    await _store(
        fleet,
        _record(labels={"team": "qa"}),
        _record(labels={"team": "qa"}, used=2 * _MINUTE),
        _record(labels={"tier": "1"}),
        _record(organization_id=OTHER_ORGANIZATION),
    )

    def total(organization_id: OrganizationId, value: str, count: int, minutes: int) -> UsageTotal:
        return UsageTotal(
            organization_id=organization_id, label_value=value, record_count=count, used=minutes * _MINUTE
        )

    other = total(OTHER_ORGANIZATION, "", 1, 1)
    assert await fleet.plane.metering.totals(_SERVICE, _EVERYTHING) == [total(ORGANIZATION, "", 3, 4), other]
    by_team = await fleet.plane.metering.totals(_SERVICE, _EVERYTHING, label="team")
    assert by_team == [total(ORGANIZATION, "", 1, 1), total(ORGANIZATION, "qa", 2, 3), other]


# ---- whose it is


@pytest.mark.parametrize("query", [_EVERYTHING, UsageQuery(organization_id=OTHER_ORGANIZATION)])
async def test_an_admin_sees_the_usage_of_their_own_organization_whatever_they_ask_for(
    fleet: Fleet, query: UsageQuery
) -> None:
    mine, theirs = _record(), _record(organization_id=OTHER_ORGANIZATION)
    await _store(fleet, mine, theirs)
    metering = fleet.plane.metering
    assert (await metering.records(_ADMIN, query, PageRequest())).items == [mine]
    assert [row.organization_id for row in await metering.totals(_ADMIN, query)] == [ORGANIZATION]
    for form in ExportFormat:
        assert theirs.session_id.encode() not in b"".join(await _export(fleet, form, query=query))


async def test_a_service_sees_every_organization_or_the_one_that_it_asks_for(fleet: Fleet) -> None:
    mine, theirs = _record(), _record(organization_id=OTHER_ORGANIZATION, end_time=NOON + _MINUTE)
    await _store(fleet, mine, theirs)
    metering = fleet.plane.metering
    assert (await metering.records(_SERVICE, _EVERYTHING, PageRequest())).items == [mine, theirs]
    query = UsageQuery(organization_id=OTHER_ORGANIZATION)
    assert (await metering.records(_SERVICE, query, PageRequest())).items == [theirs]


# ---- exports


_LABELS = [{}, {"a": "b"}, {"quote": '"', "comma": "a,b", "formula": "=1+1", "path/x": "ü 🙂"}]


async def test_a_csv_export_is_read_by_whatever_reads_csv(fleet: Fleet) -> None:
    records = [_record(labels=labels, used=timedelta(seconds=1.5)) for labels in _LABELS]
    await _store(fleet, *records)
    text = b"".join(await _export(fleet, ExportFormat.CSV)).decode()
    header, *lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    assert header == ["session_id", "epoch", "organization_id", "start_time", "end_time", "seconds", "labels"]
    assert [line[:4] for line in lines] == [
        [row.session_id, "1", "o_acme", row.start_time.isoformat()]
        for row in sorted(records, key=lambda row: row.session_id)
    ]
    assert {line[5] for line in lines} == {"1.500000"}
    assert sorted((json.loads(line[6]) for line in lines), key=len) == sorted(_LABELS, key=len)
    # Neither a spreadsheet's formula nor a bare line feed.
    assert all(cell[:1] not in "=+-@" for line in lines for cell in line)
    assert text.count("\r\n") == text.count("\n") == len(records) + 1


async def test_a_json_export_is_one_object_a_line(fleet: Fleet) -> None:
    records = [_record(labels=labels) for labels in _LABELS]
    await _store(fleet, *records)
    lines = b"".join(await _export(fleet, ExportFormat.JSON_LINES)).decode().splitlines()
    objects = {row["session_id"]: row for row in map(json.loads, lines)}
    assert len(objects) == len(lines) == len(records)
    for record in records:
        assert objects[record.session_id] == {
            "session_id": record.session_id,
            "epoch": 1,
            "organization_id": "o_acme",
            "start_time": record.start_time.isoformat(),
            "end_time": record.end_time.isoformat(),
            "seconds": 60.0,
            "labels": dict(record.labels),
        }


@pytest.mark.parametrize("form", list(ExportFormat))
@pytest.mark.parametrize("count", [1000, 1001, 2500])
async def test_an_export_of_many_records_is_whole_and_comes_in_pieces_of_lines(
    fleet: Fleet, form: ExportFormat, count: int
) -> None:
    await _store(fleet, *(_record(end_time=NOON + number % 7 * _MINUTE) for number in range(count)))
    pieces = await _export(fleet, form)
    assert all(piece.endswith(b"\n") for piece in pieces)
    lines = b"".join(pieces).splitlines()
    assert len(set(lines)) == len(lines) == count + (1 if form is ExportFormat.CSV else 0)
    assert max(piece.count(b"\n") for piece in pieces) <= 1000


async def test_an_export_of_nothing_has_its_header_alone(fleet: Fleet) -> None:
    assert b"".join(await _export(fleet, ExportFormat.CSV)).count(b"\n") == 1
    assert await _export(fleet, ExportFormat.JSON_LINES) == []
