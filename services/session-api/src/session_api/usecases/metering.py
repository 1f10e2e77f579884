"""What was used, for whoever bills it."""

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from enum import StrEnum

from fleetkit.paging import MAX_PAGE_SIZE, Page, PageRequest
from session_api.domain.caller import Caller
from session_api.domain.usage import UsageRecord, UsageTotal
from session_api.usecases.ports import Database
from session_api.usecases.queries import UsageQuery

_COLUMNS = ("session_id", "epoch", "organization_id", "start_time", "end_time", "seconds", "labels")


class ExportFormat(StrEnum):
    """How an export is written. CSV: RFC 4180 with a header line. JSON_LINES: one object a line."""

    CSV = "CSV"
    JSON_LINES = "JSON_LINES"


class Metering:
    """Usage records, listed, summed up and exported. A caller without the service scope sees its own organization's."""

    def __init__(self, *, database: Database) -> None:
        self._database = database

    async def records(self, caller: Caller, query: UsageQuery, page: PageRequest) -> Page[UsageRecord]:
        """Return one page by the end of the sessions, oldest first."""
        async with self._database.single() as tx:
            return await tx.usage.page(_visible(caller, query), page)

    async def totals(self, caller: Caller, query: UsageQuery, *, label: str = "") -> list[UsageTotal]:
        """Return sums by organization, and by the value of a label where one is given."""
        async with self._database.single() as tx:
            return await tx.usage.totals(_visible(caller, query), label=label)

    async def export(self, caller: Caller, query: UsageQuery, form: ExportFormat) -> AsyncIterator[bytes]:
        """Yield the records as a file, in pieces that end at ends of lines."""
        write = _WRITERS[form]
        if form is ExportFormat.CSV:
            yield _csv_line(_COLUMNS)
        page = PageRequest(size=MAX_PAGE_SIZE)
        while True:
            found = await self.records(caller, query, page)
            if found.items:
                yield b"".join(write(record) for record in found.items)
            if found.next_after is None:
                return
            page = PageRequest(size=MAX_PAGE_SIZE, after=found.next_after)


def _visible(caller: Caller, query: UsageQuery) -> UsageQuery:
    own = caller.visible_organization
    return query if own is None else replace(query, organization_id=own)


def _csv_line(values: tuple[str, ...]) -> bytes:
    line = io.StringIO()
    csv.writer(line).writerow(values)
    return line.getvalue().encode()


def _csv(record: UsageRecord) -> bytes:
    return _csv_line(
        (
            record.session_id,
            str(record.epoch),
            record.organization_id,
            record.start_time.isoformat(),
            record.end_time.isoformat(),
            f"{record.used.total_seconds():.6f}",
            # One cell, whatever labels there are. It begins with a brace: no spreadsheet takes it for a formula.
            json.dumps(dict(record.labels), sort_keys=True),
        )
    )


def _json_line(record: UsageRecord) -> bytes:
    fields = {
        "session_id": record.session_id,
        "epoch": record.epoch,
        "organization_id": record.organization_id,
        "start_time": record.start_time.isoformat(),
        "end_time": record.end_time.isoformat(),
        "seconds": record.used.total_seconds(),
        "labels": dict(record.labels),
    }
    return json.dumps(fields).encode() + b"\n"


_WRITERS: dict[ExportFormat, Callable[[UsageRecord], bytes]] = {
    ExportFormat.CSV: _csv,
    ExportFormat.JSON_LINES: _json_line,
}
