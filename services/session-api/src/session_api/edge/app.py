"""The edge's plain HTTP: discovery, liveness, readiness."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from fleetkit.errors import FleetError, Unauthenticated
from fleetkit.telemetry import log_context
from session_api.domain.identifiers import SessionId
from session_api.edge.door import AttachDoor
from session_api.edge.problems import http_status, problem_body
from session_api.edge.splice import attach_protocol

# Chrome answers the same for as long as its protocol has been called so.
_PROTOCOL_VERSION = "1.3"


def edge_app(door: AttachDoor, is_ready: Callable[[], Awaitable[None]]) -> Starlette:
    """Return the application. `is_ready` raises when the service cannot serve."""

    async def version(request: Request) -> Response:
        session_id = SessionId(request.path_params["session_id"])
        with log_context(session_id=session_id):
            admission = await door.admit(session_id, request.headers, request.query_params.get("token"))
            browser = admission.session.browser
            # A client sends the headers of this request along to the address that it is given here. With a key
            # among them that must be the edge: a node is assumed hostile and must not see the key.
            endpoint = admission.endpoint
            return JSONResponse(
                {
                    "Browser": browser.product if browser else "",
                    "Protocol-Version": _PROTOCOL_VERSION,
                    "User-Agent": browser.user_agent if browser else "",
                    "webSocketDebuggerUrl": endpoint.direct_url if admission.by_token else endpoint.edge_url,
                },
                headers={"cache-control": "no-store"},
            )

    async def livez(request: Request) -> Response:
        return Response("ok\n", media_type="text/plain")

    async def readyz(request: Request) -> Response:
        await is_ready()
        return Response("ok\n", media_type="text/plain")

    async def refuse(request: Request, error: Exception) -> Response:
        if not isinstance(error, FleetError):
            raise error
        headers = {"www-authenticate": "ApiKey"} if isinstance(error, Unauthenticated) else {}
        return Response(
            problem_body(error), status_code=http_status(error), media_type="application/json", headers=headers
        )

    return Starlette(
        routes=[
            Route("/attach/{session_id}/json/version", version),
            Route("/attach/{session_id}/json/version/", version),
            Route("/livez", livez),
            Route("/readyz", readyz),
        ],
        exception_handlers={FleetError: refuse},
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the process has its own."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.asynccontextmanager
async def serving_edge(address: str, app: Starlette, door: AttachDoor) -> AsyncIterator[int]:
    """Serve the edge on `host:port` (port 0: any free one) within the block, which is given the port.

    At its end attached clients are cut off and running requests get 5 s. Raises OSError when the address is taken.
    """
    listening = _listening(address)
    config = uvicorn.Config(
        app,
        http="httptools",
        ws=attach_protocol(door),  # type: ignore[arg-type]  # called as a protocol class is
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=5,
    )
    server = _Server(config)
    config.load()
    async with asyncio.TaskGroup() as group:
        _ = group.create_task(server.serve(sockets=[listening]))
        try:
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True


def _listening(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    # Connections wait in the socket's queue until uvicorn takes them.
    return socket.create_server((host, int(port)), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
