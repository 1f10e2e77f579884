"""The type of a call's context, which the libraries leave open in its message types."""

from typing import Any, TypeAlias

import grpc

# Servicers never read messages through the context, so their types do not matter there.
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
# None: the server has no such method.
FoundHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"
