"""An OTLP collector that keeps what it is sent."""

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from fleetkit.rpc.context import Context


@dataclass(frozen=True, slots=True)
class CollectedSpan:
    """One span, as far as tests look at it."""

    service: str
    name: str
    trace_id: str
    session_id: str


@dataclass(slots=True)
class Collector:
    """Where to send, and what has arrived."""

    endpoint: str = ""
    spans: list[CollectedSpan] = field(default_factory=list)
    metrics: set[tuple[str, str]] = field(default_factory=set)


class _Traces(trace_service_pb2_grpc.TraceServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: Context
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        for resource in request.resource_spans:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_spans:
                for span in scope.spans:
                    session = [a.value.string_value for a in span.attributes if a.key == "browserfleet.session_id"]
                    self._collector.spans.append(
                        CollectedSpan(service, span.name, span.trace_id.hex(), session[0] if session else "")
                    )
        return trace_service_pb2.ExportTraceServiceResponse()


class _Metrics(metrics_service_pb2_grpc.MetricsServiceServicer):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    async def Export(
        self, request: metrics_service_pb2.ExportMetricsServiceRequest, context: Context
    ) -> metrics_service_pb2.ExportMetricsServiceResponse:
        for resource in request.resource_metrics:
            service = next(a.value.string_value for a in resource.resource.attributes if a.key == "service.name")
            for scope in resource.scope_metrics:
                self._collector.metrics.update((service, metric.name) for metric in scope.metrics)
        return metrics_service_pb2.ExportMetricsServiceResponse()


@contextlib.asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """Collect on a free loopback port within the block."""
    collector = Collector()
    server = grpc.aio.server()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(_Traces(collector), server)
    metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(_Metrics(collector), server)
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    await server.start()
    try:
        yield collector
    finally:
        await server.stop(1)
