"""session-api and the reaper as processes with certificates: they find each other, and nobody comes in without one."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import asyncpg
import grpc
import pytest

from browserfleet.session.v1 import session_service_pb2, session_service_pb2_grpc
from fleetkit.rpc.client import bearer
from local_stack.ports import PortBook
from local_stack.servers.nats import RunningNats
from tests.support.keys import a_private_key
from tests.support.waiting import eventually

pytestmark = pytest.mark.timeout(120)

_ROOT = Path(__file__).parents[2]


async def _output_of(*arguments: str, env: Mapping[str, str]) -> str:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=env, stdout=asyncio.subprocess.PIPE, cwd=_ROOT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, arguments
    return output.decode().strip()


@contextlib.asynccontextmanager
async def _running(module: str, env: Mapping[str, str]) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", module, env=env, cwd=_ROOT)
    try:
        yield
    finally:
        process.terminate()
        assert await process.wait() == 0


def _identity(folder: Path, name: str) -> dict[str, str]:
    return {
        "FLEET_TLS_CERT_FILE": str(folder / name / "tls.crt"),
        "FLEET_TLS_KEY_FILE": str(folder / name / "tls.key"),
        "FLEET_TLS_CA_FILE": str(folder / name / "ca.crt"),
    }


async def test_services_with_certificates_reach_each_other_and_let_nobody_else_in(
    empty_database: str, nats_server: RunningNats, tmp_path: Path
) -> None:
    ports = PortBook()
    session_api, reaper = f"127.0.0.1:{ports.free('session-api')}", f"127.0.0.1:{ports.free('reaper')}"
    certificates = tmp_path / "certificates"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
    await _output_of("deploy/tls/dev-certificates", str(certificates), env=clean)
    database = clean | {"FLEET_POSTGRES_DSN": empty_database}
    await _output_of("-m", "session_api", "migrate", env=database)
    key = await _output_of(
        "-m", "session_api", "create-key", "--organization", "o_ops", "--scope", "service", env=database
    )
    bus = {"FLEET_NATS_URL": nats_server.url, "FLEET_NATS_TOKEN": nats_server.token}
    serving = database | bus | _identity(certificates, "session-api")
    serving |= {
        "FLEET_GRPC_LISTEN": session_api,
        "FLEET_HTTP_LISTEN": f"127.0.0.1:{ports.free('http')}",
        "FLEET_EDGE_URL": "http://127.0.0.1:1",
        "FLEET_TOKEN_PRIVATE_KEY": a_private_key(),
        "FLEET_ARTIFACT_STORE_ADDRESS": "127.0.0.1:1",
    }
    reaping = clean | bus | _identity(certificates, "reaper")
    reaping |= {"FLEET_GRPC_LISTEN": reaper, "FLEET_SESSION_API_ADDRESS": session_api, "FLEET_SERVICE_KEY": key}

    async with _running("session_api", serving), _running("reaper", reaping):
        for address, name in ((session_api, "session-api"), (reaper, "reaper")):
            probe = functools.partial(_is_healthy, address, clean | _identity(certificates, name))
            await eventually(probe, within=30, what=f"{name} is healthy over TLS")
        assert await _listed(session_api, key, _credentials(certificates, "client")) == 0
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await _listed(session_api, key, _credentials(certificates, None))
        assert refusal.value.code() is grpc.StatusCode.UNAVAILABLE
        connection = await asyncpg.connect(empty_database)

        async def has_looked() -> bool:
            return bool(await connection.fetchval("SELECT count(*) FROM fleet.node_watch"))

        await eventually(has_looked, within=20, what="the reaper reaches session-api over TLS")
        await connection.close()


async def _is_healthy(address: str, env: Mapping[str, str]) -> bool:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fleetkit.rpc.health_probe", address, env=env, cwd=_ROOT
    )
    return await process.wait() == 0


def _credentials(folder: Path, name: str | None) -> grpc.ChannelCredentials:
    authority = (folder / "ca.crt").read_bytes()
    if name is None:
        return grpc.ssl_channel_credentials(authority)
    key, chain = (folder / name / "tls.key").read_bytes(), (folder / name / "tls.crt").read_bytes()
    return grpc.ssl_channel_credentials(authority, key, chain)


async def _listed(address: str, key: str, credentials: grpc.ChannelCredentials) -> int:
    async with grpc.aio.secure_channel(address, credentials) as channel:
        stub: session_service_pb2_grpc.SessionServiceAsyncStub = session_service_pb2_grpc.SessionServiceStub(channel)
        answer = await stub.ListSessions(
            session_service_pb2.ListSessionsRequest(), metadata=bearer(key), timeout=10, wait_for_ready=False
        )
        return len(answer.sessions)
