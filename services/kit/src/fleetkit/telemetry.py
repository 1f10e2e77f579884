"""OpenTelemetry from the standard environment variables, and logs as JSON lines that carry trace and session.

Nothing is exported unless OTEL_EXPORTER_OTLP_ENDPOINT (or its per-signal form) is set.
"""

import contextlib
import contextvars
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

_log_fields: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("log_fields", default={})  # noqa: B039  # never changed in place

# Loggers of libraries whose debug lines hold headers, URLs or payloads.
_PINNED = ("asyncio", "websockets", "urllib3", "httpx", "grpc", "nats", "uvicorn.access", "uvicorn.error")


def configure(service: str) -> None:
    """Set up logs, traces and metrics of this process. Called once, before anything else."""
    _configure_logs(service)
    resource = Resource.create({"service.name": os.environ.get("OTEL_SERVICE_NAME", service)})
    if _exports("TRACES"):
        # Imported where it is used: it takes a third of a process's start.
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        tracers = TracerProvider(resource=resource)
        tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    else:
        # Trace IDs still go from service to service and into the logs; spans that nobody sees are not filled in.
        tracers = TracerProvider(resource=resource, sampler=ParentBased(ALWAYS_OFF))
    trace.set_tracer_provider(tracers)
    readers = []
    if _exports("METRICS"):
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter

        readers.append(PeriodicExportingMetricReader(OTLPMetricExporter()))
    metrics.set_meter_provider(MeterProvider(resource=resource, metric_readers=readers))


def shutdown() -> None:
    """Send what is still buffered."""
    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        if isinstance(provider, TracerProvider | MeterProvider):
            provider.shutdown()


def _exports(signal: str) -> bool:
    return any(
        os.environ.get(name) for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    )


@contextlib.contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Add fields such as `session_id` to every log line and to the current span within the block."""
    token = _log_fields.set({**_log_fields.get(), **fields})
    span = trace.get_current_span()
    for name, value in fields.items():
        span.set_attribute(f"browserfleet.{name}", value)
    try:
        yield
    finally:
        _log_fields.reset(token)


def inject_headers() -> dict[str, str]:
    """Return the W3C trace headers of the current span, to travel in a message or a row."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    return headers


def context_of(headers: Mapping[str, str]) -> Context:
    """Return the trace context that `inject_headers` wrote, as the parent of a new span."""
    return propagate.extract(headers)


class JsonLines(logging.Formatter):
    """One JSON object a line: ts, level, svc, msg, logger, trace_id, span_id, the log context, and the error."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self._service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "svc": self._service,
            "msg": record.getMessage(),
            "logger": record.name,
        }
        span = trace.get_current_span().get_span_context()
        if span.is_valid:
            line["trace_id"] = trace.format_trace_id(span.trace_id)
            line["span_id"] = trace.format_span_id(span.span_id)
        line.update(_log_fields.get())
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def _configure_logs(service: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    as_text = os.environ.get("LOG_FORMAT", "json") == "text"
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s")
    handler.setFormatter(text if as_text else JsonLines(service))
    logging.basicConfig(level=os.environ.get("LOG_LEVEL", "INFO").upper(), handlers=[handler], force=True)
    for name in _PINNED:
        logging.getLogger(name).setLevel(logging.WARNING)
