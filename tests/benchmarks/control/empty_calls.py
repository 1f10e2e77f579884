"""The caller of the floors: a driver process like the caller of sessions, calling for nothing."""

import secrets
from collections.abc import Sequence

import grpc
from google.protobuf.empty_pb2 import Empty

from fleetkit.postgres import open_pool
from fleetkit.rpc.client import bearer
from fleetkit.settings import Secret
from tests.benchmarks.control.empty_service import METHOD
from tests.benchmarks.control.orders import CallEmpty, Transact
from tests.benchmarks.control.pipe import answer_orders, run_driver
from tests.benchmarks.control.timings import Timings, in_flight

_CALL_SECONDS = 30.0
_BODY = "x" * 500


async def call_empty(order: CallEmpty) -> Timings:
    """Call a method that does nothing, with credentials as any caller sends them."""
    metadata = bearer("nobody")
    async with grpc.aio.insecure_channel(order.address) as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[Empty, Empty] = channel.unary_unary(
            METHOD, request_serializer=Empty.SerializeToString, response_deserializer=Empty.FromString
        )

        async def call() -> None:
            await method(Empty(), metadata=metadata, timeout=_CALL_SECONDS)

        return await in_flight(call, at_once=order.at_once, within=order.within)


async def transact(order: Transact) -> Timings:
    """BEGIN, INSERT one row, COMMIT, through a pool like session-api's."""
    async with open_pool(Secret(order.dsn), max_size=order.pool_size) as pool:
        await pool.execute("CREATE TABLE IF NOT EXISTS load_floor (id text PRIMARY KEY, body text NOT NULL)")

        async def insert() -> None:
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("INSERT INTO load_floor VALUES ($1, $2)", secrets.token_hex(16), _BODY)

        return await in_flight(insert, at_once=order.at_once, within=order.within)


async def main(arguments: Sequence[str]) -> None:
    async def handle(order: object) -> object:
        match order:
            case CallEmpty():
                return await call_empty(order)
            case Transact():
                return await transact(order)
        raise ValueError(f"the caller of the floors does not know {order}")

    await answer_orders(handle)


if __name__ == "__main__":
    run_driver(main)
