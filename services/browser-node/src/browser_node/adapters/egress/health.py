"""Which of the operator's upstreams answer."""

import asyncio
import logging
from collections.abc import Iterable, Mapping
from datetime import timedelta

from browser_node.adapters.egress.dialer import Dialer, Unreachable
from browser_node.domain.egress import EgressDenied
from browser_node.domain.proxies import Upstream

log = logging.getLogger(__name__)

CHECK_TIMEOUT = timedelta(seconds=3)


async def check(dialer: Dialer, upstream: Upstream, *, custom: bool) -> None:
    """See within three seconds whether an upstream can be used. Raises EgressDenied, Unreachable."""
    try:
        async with asyncio.timeout(CHECK_TIMEOUT.total_seconds()):
            await dialer.check(upstream, custom=custom)
    except TimeoutError:
        raise Unreachable("The proxy did not answer in time.", timed_out=True, upstream_fault=True) from None


class ProxyHealth:
    """What is known of each upstream: from checks, and from the connections of sessions."""

    def __init__(self, *, dialer: Dialer, locations: Mapping[str, tuple[Upstream, ...]]) -> None:
        self._dialer = dialer
        self._locations = locations
        self._answers: dict[Upstream, bool] = {}

    def is_known(self, upstream: Upstream) -> bool:
        """Tell whether it answered when it was last heard of."""
        return self._answers.get(upstream, False)

    def is_bad(self, upstream: Upstream) -> bool:
        """Tell whether it failed when it was last heard of."""
        return not self._answers.get(upstream, True)

    def sorted(self, upstreams: Iterable[Upstream]) -> list[Upstream]:
        """Those that failed come last."""
        return sorted(upstreams, key=self.is_bad)

    def answered(self, upstream: Upstream) -> None:
        self._answers[upstream] = True

    def failed(self, upstream: Upstream) -> None:
        self._answers[upstream] = False

    async def check_all(self) -> None:
        """Check every upstream of every location once, all at the same time."""
        await asyncio.gather(
            *(
                self._check(f"{location}[{number}]", upstream)
                for location, upstreams in self._locations.items()
                for number, upstream in enumerate(upstreams)
            )
        )

    async def _check(self, place: str, upstream: Upstream) -> None:
        was_bad = self.is_bad(upstream)
        try:
            await check(self._dialer, upstream, custom=False)
            self.answered(upstream)
        except (Unreachable, EgressDenied) as error:
            self.failed(upstream)
            if not was_bad:
                log.warning("proxy %s cannot be used: %s", place, error)
        else:
            if was_bad:
                log.info("proxy %s can be used again", place)
