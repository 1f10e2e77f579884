"""The runners of the real servers: each starts, is used by its real client, is killed, and goes on with its data."""

import asyncio
import contextlib
import io
import stat
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import nats
import pytest
import urllib3
from minio import Minio
from nats.aio.client import Client

from local_stack.servers.identity import nobody
from local_stack.servers.nats import NatsServer, RunningNats, running_nats
from local_stack.servers.postgres import running_postgres
from local_stack.servers.s3 import RunningS3, running_s3


async def _remember(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("CREATE TABLE kept (word text); INSERT INTO kept VALUES ('still here')")
    await connection.close()


async def _recall(dsn: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval("SELECT word FROM kept")
    finally:
        await connection.close()


async def test_postgres_comes_back_on_its_port_with_its_data_after_a_kill(tmp_path: Path) -> None:
    async with running_postgres(tmp_path) as postgres:
        await _remember(postgres.dsn)
        killed = postgres.process.pid
        postgres.process.kill()
        await postgres.process.wait_ready()
        assert postgres.process.pid != killed
        assert await _recall(postgres.dsn) == "still here"


async def test_postgres_starts_again_on_a_folder_from_an_earlier_run(tmp_path: Path) -> None:
    async with running_postgres(tmp_path) as postgres:
        await _remember(postgres.dsn)
    async with running_postgres(tmp_path) as postgres:
        assert await _recall(postgres.dsn) == "still here"


async def test_postgres_ignores_a_stale_lock_file_that_names_a_living_process(tmp_path: Path) -> None:
    async with running_postgres(tmp_path) as postgres:
        await _remember(postgres.dsn)
        data = postgres.server.data
    (data / "postmaster.pid").write_text(f"1\n{data}\n0\n{postgres.server.port}\n\n127.0.0.1\n0 0\nready\n")
    async with running_postgres(tmp_path) as postgres:
        assert await _recall(postgres.dsn) == "still here"


async def test_postgres_refuses_a_wrong_password_and_keeps_the_right_one_private(tmp_path: Path) -> None:
    async with running_postgres(tmp_path) as postgres:
        wrong = postgres.dsn.replace(postgres.server.password, "wrong")
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(wrong)
    assert stat.S_IMODE((tmp_path / "password").stat().st_mode) == 0o600


async def test_postgres_runs_as_nobody_where_user_namespaces_are_forbidden(tmp_path: Path) -> None:
    async with running_postgres(tmp_path, identity=nobody()) as postgres:
        await _remember(postgres.dsn)
        assert postgres.server.data.stat().st_uid == nobody_id()
        postgres.process.kill()
        await postgres.process.wait_ready()
        assert await _recall(postgres.dsn) == "still here"


def nobody_id() -> int:
    user = nobody().user
    assert user is not None
    return user.user_id


async def _connect(server: RunningNats | NatsServer) -> Client:
    return await nats.connect(server.url, token=server.token, allow_reconnect=False)


async def test_nats_keeps_acknowledged_messages_over_a_kill(tmp_path: Path) -> None:
    async with running_nats(tmp_path) as server:
        client = await _connect(server)
        await client.jetstream().add_stream(name="KEPT", subjects=["kept.>"])
        await client.jetstream().publish("kept.one", b"still here")
        await client.close()
        server.process.kill()
        await server.process.wait_ready()
        client = await _connect(server)
        message = await client.jetstream().get_last_msg("KEPT", "kept.one")
        await client.close()
    assert message.data == b"still here"


async def test_nats_refuses_a_wrong_token(tmp_path: Path) -> None:
    async with running_nats(tmp_path) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server.port)
        await reader.readline()
        writer.write(b'CONNECT {"auth_token": "wrong"}\r\n')
        answer = await reader.readline()
        writer.close()
    assert b"Authorization Violation" in answer


@contextlib.contextmanager
def _client(s3: RunningS3) -> Iterator[Minio]:
    server = s3.server
    with urllib3.PoolManager(timeout=5.0) as pool:
        yield Minio(
            server.endpoint.removeprefix("http://"),
            access_key=server.access_key,
            secret_key=server.secret_key,
            secure=False,
            region=server.region,
            http_client=pool,
        )


def _read(s3: RunningS3, name: str) -> bytes:
    with _client(s3) as client:
        response = client.get_object(s3.server.bucket, name)
        try:
            return bytes(response.read())
        finally:
            response.close()
            response.release_conn()


def _write(s3: RunningS3, name: str, content: bytes) -> None:
    with _client(s3) as client:
        client.put_object(s3.server.bucket, name, io.BytesIO(content), len(content))


def _sockets(port: int) -> list[Path]:
    return list(Path("/tmp").glob(f"seaweedfs-*-{port}.sock"))


async def test_s3_keeps_objects_over_a_kill_and_over_a_restart_on_other_ports(tmp_path: Path) -> None:
    async with running_s3(tmp_path) as s3:
        await asyncio.to_thread(_write, s3, "kept", b"still here")
        s3.process.kill()
        await s3.process.wait_ready()
        assert await asyncio.to_thread(_read, s3, "kept") == b"still here"
        before = s3.server.port
    assert _sockets(before) == []
    async with running_s3(tmp_path) as s3:
        assert s3.server.port != before
        assert await asyncio.to_thread(_read, s3, "kept") == b"still here"
