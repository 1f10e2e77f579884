"""The floor of a call: one method that does nothing, on a bare server and on one of ours, in a process of its own."""

from collections.abc import Mapping, Sequence

import grpc
from google.protobuf.empty_pb2 import Empty

from fleetkit import telemetry
from fleetkit.rpc.caller import bearer_token
from fleetkit.rpc.context import Context
from fleetkit.rpc.server import Service, serving
from local_stack.ports import LOOPBACK
from tests.benchmarks.control.orders import EmptyAddresses, Locate
from tests.benchmarks.control.pipe import answer_orders, run_driver

_SERVICE = "browserfleet.load.Empty"
METHOD = f"/{_SERVICE}/Call"


class Anybody:
    """Takes every key, as fast as one that is known by heart."""

    async def authenticate(self, method: str, metadata: Mapping[str, str]) -> object:
        return bearer_token(metadata)


async def _call(request: Empty, context: Context) -> Empty:
    return Empty()


def _add(server: grpc.aio.Server) -> None:
    handler = grpc.unary_unary_rpc_method_handler(
        _call, request_deserializer=Empty.FromString, response_serializer=Empty.SerializeToString
    )
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(_SERVICE, {"Call": handler})])


async def main(arguments: Sequence[str]) -> None:
    telemetry.configure("empty")
    bare = grpc.aio.server()
    _add(bare)
    bare_port = bare.add_insecure_port(f"{LOOPBACK}:0")
    await bare.start()
    async with serving(f"{LOOPBACK}:0", [Service(_SERVICE, _add)], authenticator=Anybody()) as kit:
        addresses = EmptyAddresses(bare=f"{LOOPBACK}:{bare_port}", kit=f"{LOOPBACK}:{kit.port}")

        async def handle(order: object) -> object:
            if not isinstance(order, Locate):
                raise ValueError(f"the empty service does not know {order}")
            return addresses

        await answer_orders(handle)
    await bare.stop(0)


if __name__ == "__main__":
    run_driver(main)
