"""What a consumer of messages counts: the metrics of docs/events.md."""

from opentelemetry import metrics


class ConsumerFigures:
    """The figures of one consumer, by its durable name."""

    def __init__(self, consumer: str) -> None:
        self._attributes = {"messaging.consumer.group.name": consumer}
        meter = metrics.get_meter(__name__)
        self._delivered = meter.create_counter(
            "fleet.events.delivered", unit="{message}", description="Messages that a consumer was given, repeats too."
        )
        self._ignored = meter.create_counter(
            "fleet.events.ignored", unit="{message}", description="Messages that a consumer has no use for."
        )
        self._dead = meter.create_counter(
            "fleet.events.dead", unit="{message}", description="Messages that a consumer gave up."
        )
        self._lag = meter.create_gauge(
            "fleet.events.lag", unit="{message}", description="Messages that waited for a consumer when it last looked."
        )

    def delivered(self, *, lag: int) -> None:
        self._delivered.add(1, self._attributes)
        self._lag.set(lag, self._attributes)

    def idle(self, *, lag: int) -> None:
        self._lag.set(lag, self._attributes)

    def ignored(self) -> None:
        self._ignored.add(1, self._attributes)

    def dead(self) -> None:
        self._dead.add(1, self._attributes)
