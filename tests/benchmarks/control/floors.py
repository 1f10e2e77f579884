"""What nothing costs on this machine: a call that does nothing, a transaction that does next to nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

import psutil

from tests.benchmarks.control.figures import Figure
from tests.benchmarks.control.options import LoadOptions
from tests.benchmarks.control.orders import CallEmpty, EmptyAddresses, Locate, Transact
from tests.benchmarks.control.pipe import Driver, driver
from tests.benchmarks.control.readings import read, wait_for_quiet
from tests.benchmarks.control.servers import ControlServers
from tests.benchmarks.control.timings import Timings

# As many as session-api has: FLEET_POSTGRES_POOL_SIZE.
_POOL_SIZE = 20
_AT_ONCE = 32
_A_FEW = 4
# A create commits its intent, and then that its browser is up.
COMMITS = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class CallFloor:
    """Calls to one server: as many as go, with the processor time of each at both ends; and a few at once."""

    flood: Timings
    server_cpu: timedelta
    caller_cpu: timedelta
    trickle: Timings


@dataclass(frozen=True, slots=True, kw_only=True)
class Floors:
    """What every other figure is compared with."""

    bare: CallFloor
    kit: CallFloor
    transactions: Timings
    # Processor time of one transaction at both ends.
    transaction_cpu: timedelta
    postgres_cpu: timedelta

    @property
    def create_cpu(self) -> timedelta:
        """What a create costs session-api at least: a call that it answers, one that it makes, two transactions."""
        return self.kit.server_cpu + self.bare.caller_cpu + COMMITS * self.transaction_cpu

    def figures(self) -> list[Figure]:
        bare, kit, transactions = self.bare, self.kit, self.transactions
        return [
            Figure(metric="empty call, bare server", value=bare.flood.rate, unit="/s"),
            Figure(metric="empty call, our server", value=kit.flood.rate, unit="/s", floor=bare.flood.rate),
            Figure(
                metric="empty call, our server, CPU", value=ms(kit.server_cpu), unit="ms", floor=ms(bare.server_cpu)
            ),
            Figure(
                metric=f"empty call, our server, p50 at {_A_FEW}",
                value=ms(kit.trickle.p50),
                unit="ms",
                floor=ms(bare.trickle.p50),
            ),
            Figure(
                metric=f"empty call, our server, p99 at {_A_FEW}",
                value=ms(kit.trickle.p99),
                unit="ms",
                floor=ms(bare.trickle.p99),
            ),
            Figure(metric="bare transaction", value=transactions.rate, unit="/s"),
            Figure(metric="bare transaction p50", value=ms(transactions.p50), unit="ms"),
            Figure(metric="bare transaction p99", value=ms(transactions.p99), unit="ms"),
            Figure(metric="bare transaction, CPU of its caller", value=ms(self.transaction_cpu), unit="ms"),
            Figure(metric="bare transaction, CPU of postgres", value=ms(self.postgres_cpu), unit="ms"),
        ]


async def measure_floors(servers: ControlServers, options: LoadOptions) -> Floors:
    """Measure while session-api is not there yet."""
    async with (
        driver("tests.benchmarks.control.empty_service") as service,
        driver("tests.benchmarks.control.empty_calls") as caller,
    ):
        addresses = await service.ask(Locate(), EmptyAddresses)
        parts = {
            "caller": [caller.process],
            "service": [service.process],
            "postgres": [psutil.Process(servers.pid("postgres"))],
        }
        bare = await _measure_calls(caller, addresses.bare, parts, options)
        kit = await _measure_calls(caller, addresses.kit, parts, options)
        await wait_for_quiet(options.patience)
        before = read(parts)
        order = Transact(
            dsn=servers.plan.postgres.dsn(), pool_size=_POOL_SIZE, at_once=_POOL_SIZE, within=options.window
        )
        transactions = await caller.ask(order, Timings)
        cpu = read(parts).since(before).each(transactions.count)
    return Floors(
        bare=bare, kit=kit, transactions=transactions, transaction_cpu=cpu["caller"], postgres_cpu=cpu["postgres"]
    )


async def _measure_calls(
    caller: Driver, address: str, parts: Mapping[str, Sequence[psutil.Process]], options: LoadOptions
) -> CallFloor:
    await wait_for_quiet(options.patience)
    span = options.window / 2
    trickle = await caller.ask(CallEmpty(address=address, at_once=_A_FEW, within=span), Timings)
    before = read(parts)
    flood = await caller.ask(CallEmpty(address=address, at_once=_AT_ONCE, within=span), Timings)
    cpu = read(parts).since(before).each(flood.count)
    return CallFloor(flood=flood, server_cpu=cpu["service"], caller_cpu=cpu["caller"], trickle=trickle)


def ms(span: timedelta) -> float:
    """Return a span in milliseconds, as figures show it."""
    return span / timedelta(milliseconds=1)
