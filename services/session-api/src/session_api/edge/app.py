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

from fleetkit.errors import FleetError, Unauthenticated, Unimplemented
from fleetkit.telemetry import log_context
from session_api.domain.identifiers import SessionId
from session_api.edge.discovery import targets_of, version_of
from session_api.edge.door import Admission, AttachDoor
from session_api.edge.problems import http_status, problem_body
from session_api.edge.splice import attach_protocol

_NOT_STORED = {"cache-control": "no-store"}


def edge_app(door: AttachDoor, is_ready: Callable[[], Awaitable[None]]) -> Starlette:
    """Return the application. `is_ready` raises when the service cannot serve."""

    async def admitted(request: Request) -> Admission:
        session_id = SessionId(request.path_params["session_id"])
        with log_context(session_id=session_id):
            return await door.admit(session_id, request.headers, request.query_params.get("token"))

    async def version(request: Request) -> Response:
        return JSONResponse(version_of(await admitted(request)), headers=_NOT_STORED)

    async def targets(request: Request) -> Response:
        return JSONResponse(await targets_of(await admitted(request)), headers=_NOT_STORED)

    async def over_cdp(request: Request) -> Response:
        error = Unimplemented("Pages are opened, closed and shown over CDP.")
        return Response(problem_body(error), status_code=405, media_type="application/json", headers={"allow": ""})

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
            *(
                Route(f"/attach/{{session_id}}/{path}", targets)
                for path in ("json", "json/", "json/list", "json/list/")
            ),
            *(
                Route(f"/attach/{{session_id}}/json/{verb}", over_cdp, methods=["GET", "PUT"])
                for verb in ("new", "close/{target}", "activate/{target}")
            ),
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
