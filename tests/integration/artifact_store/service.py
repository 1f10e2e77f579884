"""The whole artifact-store in this process, and its callers."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from artifact_store import bootstrap
from artifact_store.settings import Settings
from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from fleetkit.rpc.client import bearer, channel
from fleetkit.tokens import TokenSigner
from local_stack.ports import PortBook
from local_stack.servers.s3 import S3Server
from tests.support.artifact_fakes import ORGANIZATION, SESSION, artifact_id, sum_of
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

    async def listed(self) -> list[Artifact]:
        request = artifact_service_pb2.ListArtifactsRequest(session_id=SESSION)
        metadata = self._metadata(organization=ORGANIZATION, scope="read")
        return list((await self.stub.ListArtifacts(request, metadata=metadata)).artifacts)

    async def download(self, *numbers: int) -> None:
        """Upload small downloads."""
        for number in numbers:
            await self.upload(b"a,b", number=number, kind=Artifact.KIND_DOWNLOAD, content_type="text/csv")

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


def a_setup(database: str, s3: S3Server, folder: Path) -> Setup:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signer = TokenSigner(key.decode())
    public_key = folder / "public.pem"
    public_key.write_text(signer.public_key_pem)
    address = f"127.0.0.1:{PortBook().free('grpc')}"
    settings = Settings.from_env(
        {
            "FLEET_POSTGRES_DSN": database,
            "FLEET_GRPC_LISTEN": address,
            "FLEET_S3_ENDPOINT": s3.endpoint,
            "FLEET_S3_BUCKET": s3.bucket,
            "FLEET_S3_ACCESS_KEY": s3.access_key,
            "FLEET_S3_SECRET_KEY": s3.secret_key,
            "FLEET_TOKEN_PUBLIC_KEY_FILE": str(public_key),
            "FLEET_SCRATCH_DIR": str(folder / "scratch"),
            # Long, so that only the wake-up after an upload can begin a pass in time.
            "FLEET_FINISH_INTERVAL": "10m",
        }
    )
    return Setup(settings, signer, address)


@contextlib.asynccontextmanager
async def running(setup: Setup) -> AsyncIterator[Service]:
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


async def another(setup: Setup) -> Setup:
    """Return the setup of a second replica."""
    port = await asyncio.to_thread(lambda: PortBook().free("grpc"))
    scratch = setup.settings.scratch_dir
    assert scratch is not None
    address = f"127.0.0.1:{port}"
    settings = replace(setup.settings, grpc_listen=address, scratch_dir=scratch.with_name("scratch-2"))
    return replace(setup, settings=settings, address=address)
