"""UsageService."""

from collections.abc import AsyncIterator

from browserfleet.usage.v1 import usage_pb2, usage_service_pb2, usage_service_pb2_grpc
from fleetkit.paging import PageTokens
from fleetkit.rpc.caller import current_caller
from fleetkit.rpc.context import Context
from fleetkit.rpc.times import duration, timestamp
from session_api.domain.caller import Caller
from session_api.domain.identifiers import OrganizationId
from session_api.domain.usage import UsageRecord, UsageTotal
from session_api.rpc.values import instant
from session_api.usecases.metering import ExportFormat, Metering
from session_api.usecases.queries import UsageQuery


class UsageServicer(usage_service_pb2_grpc.UsageServiceServicer):
    """Translates between the wire and the use cases."""

    def __init__(self, *, metering: Metering, page_tokens: PageTokens) -> None:
        self._metering = metering
        self._page_tokens = page_tokens

    async def ListUsageRecords(
        self, request: usage_service_pb2.ListUsageRecordsRequest, context: Context
    ) -> usage_service_pb2.ListUsageRecordsResponse:
        query = _query_of(request.filter)
        wanted = self._page_tokens.request(
            page_size=request.page_size, page_token=request.page_token, query=repr(query)
        )
        page = await self._metering.records(current_caller(Caller), query, wanted)
        return usage_service_pb2.ListUsageRecordsResponse(
            usage_records=[_record_to_proto(record) for record in page.items],
            next_page_token=self._page_tokens.token(page, query=repr(query)),
        )

    async def SumUsage(
        self, request: usage_service_pb2.SumUsageRequest, context: Context
    ) -> usage_service_pb2.SumUsageResponse:
        totals = await self._metering.totals(
            current_caller(Caller), _query_of(request.filter), label=request.group_by_label
        )
        return usage_service_pb2.SumUsageResponse(totals=[_total_to_proto(total) for total in totals])

    async def ExportUsage(
        self, request: usage_service_pb2.ExportUsageRequest, context: Context
    ) -> AsyncIterator[usage_service_pb2.ExportUsageResponse]:
        json_lines = request.format == usage_service_pb2.ExportUsageRequest.FORMAT_JSON_LINES
        form = ExportFormat.JSON_LINES if json_lines else ExportFormat.CSV
        async for piece in self._metering.export(current_caller(Caller), _query_of(request.filter), form):
            yield usage_service_pb2.ExportUsageResponse(data=piece)


def _query_of(narrow: usage_service_pb2.UsageFilter) -> UsageQuery:
    return UsageQuery(
        organization_id=OrganizationId(narrow.organization_id) if narrow.organization_id else None,
        end_after=instant(narrow, "end_after"),
        end_before=instant(narrow, "end_before"),
        labels=dict(narrow.labels),
    )


def _record_to_proto(record: UsageRecord) -> usage_pb2.UsageRecord:
    return usage_pb2.UsageRecord(
        session_id=record.session_id,
        epoch=record.epoch,
        organization_id=record.organization_id,
        labels=record.labels,
        start_time=timestamp(record.start_time),
        end_time=timestamp(record.end_time),
        used=duration(record.used),
    )


def _total_to_proto(total: UsageTotal) -> usage_pb2.UsageTotal:
    return usage_pb2.UsageTotal(
        organization_id=total.organization_id,
        label_value=total.label_value,
        record_count=total.record_count,
        used=duration(total.used),
    )
