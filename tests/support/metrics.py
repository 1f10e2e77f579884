"""Reading what the code under test has measured."""

from opentelemetry.sdk.metrics.export import InMemoryMetricReader, NumberDataPoint


def metric_value(reader: InMemoryMetricReader, name: str, *, consumer: str) -> float | None:
    """Return the figure of one consumer of messages; None when it never was measured."""
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points if metric.name == name else ():
                    theirs = (point.attributes or {}).get("messaging.consumer.group.name")
                    if theirs == consumer and isinstance(point, NumberDataPoint):
                        return point.value
    return None
