"""The whole service on real Postgres and a real S3 server."""

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import av
import grpc
import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from artifact_store import bootstrap
from artifact_store.settings import Settings
from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from fleetkit.postgres import SchemaOutdated
from fleetkit.rpc.client import bearer, channel
from fleetkit.tokens import TokenSigner
from local_stack.ports import PortBook
from local_stack.servers.s3 import RunningS3
from tests.support.artifact_fakes import ORGANIZATION, SESSION, artifact_id, sum_of
from tests.support.artifact_recordings import a_recording
from tests.support.waiting import eventually

Artifact = artifact_pb2.Artifact
UploadRequest = artifact_service_pb2.UploadArtifactRequest


@dataclass
class Service:
    stub: "artifact_service_pb2_grpc.ArtifactServiceAsyncStub"
    signer: TokenSigner

    def _metadata(self, **claims: str) -> tuple[tuple[str, str], ...]:
        return bearer(self.signer.sign(audience="artifact-store", subject="t", ttl=timedelta(minutes=1), **claims))

    async def upload(self, data: bytes, *, number: int, kind: Artifact.Kind.ValueType, content_type: str) -> Artifact:
        header = artifact_service_pb2.UploadHeader(
            artifact_id=artifact_id(number),
            session_id=SESSION,
            kind=kind,
            display_name=f"file-{number}.mkv",
            content_type=content_type,
        )
        trailer = artifact_service_pb2.UploadTrailer(size_bytes=len(data), sha256=sum_of(data).sha256)

        async def stream() -> AsyncIterator[UploadRequest]:
            yield UploadRequest(header=header)
            for start in range(0, len(data), 262_144):
                yield UploadRequest(chunk=data[start : start + 262_144])
            yield UploadRequest(trailer=trailer)

        metadata = self._metadata(organization=ORGANIZATION, session=SESSION, scope="write")
        return await self.stub.UploadArtifact(stream(), metadata=metadata)

    async def get(self, number: int) -> artifact_service_pb2.GetArtifactResponse:
        request = artifact_service_pb2.GetArtifactRequest(artifact_id=artifact_id(number))
        return await self.stub.GetArtifact(request, metadata=self._metadata(organization=ORGANIZATION, scope="read"))

    async def ended(self, number: int) -> artifact_service_pb2.GetArtifactResponse:
        async def ended() -> artifact_service_pb2.GetArtifactResponse | None:
            answer = await self.get(number)
            return None if answer.artifact.state == Artifact.STATE_PENDING else answer

        return await eventually(ended, within=60, what="the recording is a video")


@dataclass
class Setup:
    settings: Settings
    signer: TokenSigner
    address: str


@pytest.fixture
def setup(empty_database: str, s3: RunningS3, tmp_path: Path) -> Setup:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signer = TokenSigner(key.decode())
    public_key = tmp_path / "public.pem"
    public_key.write_text(signer.public_key_pem)
    address = f"127.0.0.1:{PortBook().free('grpc')}"
    settings = Settings.from_env(
        {
            "FLEET_POSTGRES_DSN": empty_database,
            "FLEET_GRPC_LISTEN": address,
            "FLEET_S3_ENDPOINT": s3.server.endpoint,
            "FLEET_S3_BUCKET": s3.server.bucket,
            "FLEET_S3_ACCESS_KEY": s3.server.access_key,
            "FLEET_S3_SECRET_KEY": s3.server.secret_key,
            "FLEET_TOKEN_PUBLIC_KEY_FILE": str(public_key),
            "FLEET_SCRATCH_DIR": str(tmp_path / "scratch"),
            # Long, so that only the wake-up after an upload can begin a pass in time.
            "FLEET_FINISH_INTERVAL": "10m",
        }
    )
    return Setup(settings, signer, address)


@contextlib.asynccontextmanager
async def _running(setup: Setup) -> AsyncIterator[Service]:
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(bootstrap.run(setup.settings, stop))
        async with channel(setup.address, retries=False) as opened:
            await _serving(opened)
            yield Service(artifact_service_pb2_grpc.ArtifactServiceStub(opened), setup.signer)
        stop.set()


async def _serving(opened: grpc.aio.Channel) -> None:
    async with asyncio.timeout(20):
        while opened.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY:
            await opened.wait_for_state_change(opened.get_state())


@pytest.fixture
async def service(setup: Setup) -> AsyncIterator[Service]:
    await bootstrap.migrate(setup.settings.postgres_dsn)
    async with _running(setup) as running:
        yield running


async def _download(url: str) -> bytes:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).content


async def test_a_file_of_several_parts_comes_back_by_its_url(service: Service) -> None:
    data = bytes(range(256)) * 80_000
    stored = await service.upload(data, number=1, kind=Artifact.KIND_DOWNLOAD, content_type="application/zip")
    assert (stored.state, stored.size_bytes, stored.sha256) == (Artifact.STATE_STORED, len(data), sum_of(data).sha256)
    assert await _download((await service.get(1)).download_url) == data


async def test_a_raw_recording_becomes_a_video_soon_after_its_upload(service: Service) -> None:
    raw = a_recording([0, 200, 400, 2000])
    pending = await service.upload(raw, number=2, kind=Artifact.KIND_RECORDING, content_type="video/x-matroska")
    assert pending.state == Artifact.STATE_PENDING
    answer = await service.ended(2)
    assert answer.artifact.state == Artifact.STATE_STORED
    assert (answer.artifact.content_type, answer.artifact.display_name) == ("video/webm", "file-2.webm")
    video = await _download(answer.download_url)
    assert sum_of(video).sha256 == answer.artifact.sha256
    with av.open(io.BytesIO(video), "r") as container:
        assert len(list(container.decode(video=0))) == 4


async def test_a_recording_that_waited_for_the_service_is_finished_at_its_start(setup: Setup) -> None:
    await bootstrap.migrate(setup.settings.postgres_dsn)
    async with _running(setup) as first:
        upload = first.upload(
            a_recording(list(range(0, 20_000, 200))),
            number=3,
            kind=Artifact.KIND_RECORDING,
            content_type="video/x-matroska",
        )
        await upload
    async with _running(setup) as second:
        assert (await second.ended(3)).artifact.state == Artifact.STATE_STORED


async def test_without_its_migrations_the_service_does_not_start(setup: Setup) -> None:
    with pytest.raises(SchemaOutdated):
        await bootstrap.run(setup.settings, asyncio.Event())
