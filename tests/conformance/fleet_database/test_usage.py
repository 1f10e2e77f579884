"""Usage records."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

from fleetkit.paging import PageRequest
from session_api.domain.identifiers import OrganizationId
from session_api.domain.usage import UsageRecord, UsageTotal
from session_api.usecases.ports import Database
from session_api.usecases.queries import UsageQuery
from tests.conformance.fleet_database.subject import HOUR, MINUTE, numbered
from tests.support.fleet_builders import NOON, ORGANIZATION, OTHER_ORGANIZATION


def _record(
    number: int = 1,
    *,
    end: timedelta = HOUR,
    used: timedelta = MINUTE,
    epoch: int = 1,
    labels: Mapping[str, str] | None = None,
    organization_id: OrganizationId = ORGANIZATION,
) -> UsageRecord:
    return UsageRecord(
        session_id=numbered(number),
        epoch=epoch,
        organization_id=organization_id,
        labels=labels or {},
        start_time=NOON + end - used,
        end_time=NOON + end,
    )


async def _add(database: Database, *records: UsageRecord) -> None:
    async with database.transaction() as tx:
        for record in records:
            await tx.usage.add(record)


async def _pages(database: Database, query: UsageQuery, size: int = 50) -> list[list[UsageRecord]]:
    pages: list[list[UsageRecord]] = []
    after = None
    while True:
        async with database.single() as tx:
            page = await tx.usage.page(query, PageRequest(size=size, after=after))
        pages.append(page.items)
        after = page.next_after
        if after is None:
            return pages


async def test_a_record_comes_back_as_it_was_added(database: Database) -> None:
    record = _record(labels={"tenant": "t1"}, used=timedelta(days=2, microseconds=1))
    await _add(database, record)
    assert await _pages(database, UsageQuery()) == [[record]]


async def test_a_second_record_of_a_session_and_epoch_changes_nothing(database: Database) -> None:
    record = _record()
    await _add(database, record)
    await _add(database, replace(record, end_time=NOON + 2 * HOUR), _record(epoch=2))
    assert await _pages(database, UsageQuery()) == [[record, _record(epoch=2)]]


async def test_pages_go_by_the_end_and_are_whole_where_ends_are_the_same(database: Database) -> None:
    records = [_record(3, end=MINUTE), _record(1), _record(2), _record(2, epoch=10), _record(0, end=2 * HOUR)]
    await _add(database, *reversed(records))
    for size in (1, 2, 5):
        pages = await _pages(database, UsageQuery(), size)
        assert [record for page in pages for record in page] == records
        assert len(pages) == -(-len(records) // size)


async def test_records_are_narrowed_by_organization_end_and_labels(database: Database) -> None:
    first = _record(1, end=HOUR, labels={"tenant": "t1", "team": "red"})
    second = _record(2, end=2 * HOUR, labels={"tenant": "t1"})
    foreign = _record(3, end=3 * HOUR, organization_id=OTHER_ORGANIZATION)
    await _add(database, first, second, foreign)
    assert await _pages(database, UsageQuery(organization_id=OTHER_ORGANIZATION)) == [[foreign]]
    assert await _pages(database, UsageQuery(end_after=NOON + 2 * HOUR)) == [[second, foreign]]
    assert await _pages(database, UsageQuery(end_before=NOON + 2 * HOUR)) == [[first]]
    assert await _pages(database, UsageQuery(labels={"tenant": "t1"})) == [[first, second]]
    assert await _pages(database, UsageQuery(labels={"tenant": "t1", "team": "red"})) == [[first]]


async def test_totals_are_by_organization(database: Database) -> None:
    await _add(database, _record(1), _record(2, used=HOUR, labels={"tenant": "t1"}))
    await _add(database, _record(3, used=30 * HOUR, organization_id=OTHER_ORGANIZATION))
    async with database.single() as tx:
        totals = await tx.usage.totals(UsageQuery(), label="")
    assert totals == [
        UsageTotal(organization_id=ORGANIZATION, label_value="", record_count=2, used=HOUR + MINUTE),
        UsageTotal(organization_id=OTHER_ORGANIZATION, label_value="", record_count=1, used=30 * HOUR),
    ]


async def test_totals_are_by_the_value_of_a_label_where_one_is_given(database: Database) -> None:
    await _add(database, _record(1), _record(2, labels={"tenant": "t2"}), _record(3, labels={"tenant": "t1"}))
    await _add(database, _record(4, labels={"tenant": "t1"}), _record(5, labels={"team": "red"}))
    async with database.single() as tx:
        totals = await tx.usage.totals(UsageQuery(organization_id=ORGANIZATION), label="tenant")
    assert [(total.label_value, total.record_count) for total in totals] == [("", 2), ("t1", 2), ("t2", 1)]


async def test_totals_of_nothing_are_none(database: Database) -> None:
    async with database.single() as tx:
        assert await tx.usage.totals(UsageQuery(), label="") == []
