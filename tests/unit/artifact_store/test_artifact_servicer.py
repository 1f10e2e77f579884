"""ArtifactService as its callers see it: codes, reasons and tokens, through the real interceptors."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from artifact_store.rpc.access import TokenAuthenticator
from artifact_store.rpc.artifact_servicer import ArtifactServicer, artifact_service
from artifact_store.usecases.artifacts import ArtifactPolicy, Artifacts
from browserfleet.artifact.v1 import artifact_pb2, artifact_service_pb2, artifact_service_pb2_grpc
from fleetkit import errors
from fleetkit.paging import PageTokens
from fleetkit.rpc.client import bearer, channel, typed_errors
from fleetkit.rpc.server import serving
from fleetkit.tokens import TokenSigner, TokenVerifier
from tests.support.artifact_fakes import (
    ORGANIZATION,
    SESSION,
    MemoryBlobStore,
    MemoryDatabase,
    SteppedClock,
    artifact_id,
    sum_of,
)

DATA = b"bytes of a file" * 1000
OTHER_SESSION = f"pbs_{'2':0>26}"
UploadRequest = artifact_service_pb2.UploadArtifactRequest


class Door:
    """The service's stub, with tokens."""

    def __init__(self, opened: grpc.aio.Channel, signer: TokenSigner, blobs: MemoryBlobStore) -> None:
        self._stub: artifact_service_pb2_grpc.ArtifactServiceAsyncStub = artifact_service_pb2_grpc.ArtifactServiceStub(
            opened
        )
        self._signer = signer
        self.blobs = blobs

    def token(self, *, audience: str = "artifact-store", **claims: str) -> str:
        return self._signer.sign(audience=audience, subject="test", ttl=timedelta(minutes=5), **claims)

    def write_token(self, session: str = SESSION) -> str:
        return self.token(organization=ORGANIZATION, session=session, scope="write")

    def read_token(self, organization: str = ORGANIZATION) -> str:
        return self.token(organization=organization, scope="read")

    async def upload(
        self, requests: list[UploadRequest], *, token: str | None = None, ends: bool = True
    ) -> artifact_pb2.Artifact:
        """Upload; with `ends` false the stream stays open: gRPC loses an early refusal to a write that fails on it."""

        async def stream() -> AsyncIterator[UploadRequest]:
            for request in requests:
                yield request
            if not ends:
                await asyncio.Event().wait()

        metadata = bearer(token or self.write_token())
        for _ in range(5):
            try:
                with typed_errors():
                    return await self._stub.UploadArtifact(stream(), metadata=metadata)
            except errors.Internal as error:
                # The write that lost the race; a node sends an upload again too.
                if "from Core" not in error.message:
                    raise
        raise AssertionError("the upload lost every race")

    async def list(self, *, token: str | None = None, **fields: object) -> artifact_service_pb2.ListArtifactsResponse:
        request = artifact_service_pb2.ListArtifactsRequest(**{"session_id": SESSION, **fields})  # type: ignore[arg-type]  # fields by name
        with typed_errors():
            return await self._stub.ListArtifacts(request, metadata=bearer(token or self.read_token()))

    async def get(self, number: int = 1, *, token: str | None = None) -> artifact_service_pb2.GetArtifactResponse:
        request = artifact_service_pb2.GetArtifactRequest(artifact_id=artifact_id(number))
        with typed_errors():
            return await self._stub.GetArtifact(request, metadata=bearer(token or self.read_token()))


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    key = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    signer, blobs = TokenSigner(key.decode()), MemoryBlobStore()
    artifacts = Artifacts(
        database=MemoryDatabase(), blobs=blobs, clock=SteppedClock(), policy=ArtifactPolicy(max_bytes=1_000_000)
    )
    service = artifact_service(ArtifactServicer(artifacts, page_tokens=PageTokens(b"secret")))
    authenticator = TokenAuthenticator(TokenVerifier(signer.public_key_pem))
    async with (
        serving("127.0.0.1:0", [service], authenticator=authenticator, grace=timedelta(0)) as server,
        channel(f"127.0.0.1:{server.port}", retries=False) as opened,
    ):
        yield Door(opened, signer, blobs)


def header(*, number: int = 1, session: str = SESSION, name: str = "report.csv", **fields: object) -> UploadRequest:
    values: dict[str, object] = {"kind": artifact_pb2.Artifact.KIND_DOWNLOAD, "content_type": "text/csv", **fields}
    return UploadRequest(
        header=artifact_service_pb2.UploadHeader(
            artifact_id=artifact_id(number),
            session_id=session,
            display_name=name,
            **values,  # type: ignore[arg-type]  # fields by name
        )
    )


def trailer(data: bytes = DATA) -> UploadRequest:
    return UploadRequest(trailer=artifact_service_pb2.UploadTrailer(size_bytes=len(data), sha256=sum_of(data).sha256))


def chunks(data: bytes = DATA) -> Iterator[UploadRequest]:
    for start in range(0, len(data), 4096):
        yield UploadRequest(chunk=data[start : start + 4096])


async def test_an_upload_is_answered_with_the_stored_artifact(door: Door) -> None:
    artifact = await door.upload([header(), *chunks(), trailer()])
    assert artifact.state == artifact_pb2.Artifact.STATE_STORED
    assert (artifact.size_bytes, artifact.sha256) == (len(DATA), sum_of(DATA).sha256)
    assert artifact.HasField("end_time")
    answer = await door.get()
    assert answer.artifact == artifact
    assert answer.download_url
    assert answer.HasField("url_expire_time")


async def test_an_empty_file_is_an_artifact_too(door: Door) -> None:
    artifact = await door.upload([header(), trailer(b"")])
    assert artifact.state == artifact_pb2.Artifact.STATE_STORED
    assert artifact.size_bytes == 0


async def test_an_upload_again_is_answered_without_reading_it(door: Door) -> None:
    first = await door.upload([header(), *chunks(), trailer()])
    assert await door.upload([header(), *chunks(bytes(10_000_000)), trailer(b"")]) == first


async def test_a_raw_recording_is_pending_and_has_no_url(door: Door) -> None:
    recording = header(kind=artifact_pb2.Artifact.KIND_RECORDING, content_type="video/x-matroska")
    artifact = await door.upload([recording, *chunks(), trailer()])
    assert artifact.state == artifact_pb2.Artifact.STATE_PENDING
    assert (artifact.size_bytes, artifact.sha256) == (0, "")
    assert (await door.get()).download_url == ""


@pytest.mark.parametrize(
    "requests",
    [
        [header(), *chunks()],
        [header(), *chunks(), trailer(b"other")],
    ],
    ids=["cut off", "wrong sum"],
)
async def test_bytes_that_do_not_match_are_data_loss(door: Door, requests: list[UploadRequest]) -> None:
    with pytest.raises(errors.DataLoss) as caught:
        await door.upload(requests)
    assert caught.value.reason == "UPLOAD_CORRUPT"
    listed = await door.list()
    assert [artifact.state for artifact in listed.artifacts] == [artifact_pb2.Artifact.STATE_PENDING]
    assert door.blobs.objects == {}


@pytest.mark.parametrize(
    "requests",
    [
        [],
        [trailer()],
        [*chunks()],
        [header(), header(), trailer(b"")],
        [UploadRequest()],
        [header(kind=0)],
        [header(session="pbs_../x")],
        [header(content_type="text/html\r\nx: y")],
        [header(), UploadRequest(chunk=bytes(1024 * 1024 + 1))],
        [header(), UploadRequest(trailer=artifact_service_pb2.UploadTrailer(size_bytes=-1, sha256="x"))],
    ],
    ids=[
        "nothing",
        "no header",
        "bytes first",
        "two headers",
        "empty",
        "no kind",
        "bad id",
        "bad type",
        "huge",
        "bad sum",
    ],
)
async def test_a_malformed_upload_is_an_invalid_argument(door: Door, requests: list[UploadRequest]) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        await door.upload(requests)
    assert caught.value.reason == "INVALID_REQUEST"
    assert caught.value.fields


async def test_too_large_an_upload_says_the_limit(door: Door) -> None:
    with pytest.raises(errors.ResourceExhausted) as caught:
        await door.upload([header(), *chunks(bytes(1_000_001)), trailer()])
    assert caught.value.reason == "ARTIFACT_TOO_LARGE"
    assert caught.value.metadata == {"limit_bytes": "1000000"}
    assert (await door.get()).artifact.state == artifact_pb2.Artifact.STATE_FAILED


async def test_an_object_store_that_is_down_is_unavailable_with_a_delay(door: Door) -> None:
    door.blobs.down = True
    with pytest.raises(errors.Unavailable) as caught:
        await door.upload([header()], ends=False)
    assert caught.value.reason == "BLOB_STORE_UNAVAILABLE"
    assert caught.value.retry_after == timedelta(seconds=5)


async def test_a_token_for_another_session_does_not_upload(door: Door) -> None:
    with pytest.raises(errors.PermissionDenied):
        await door.upload([header()], token=door.write_token(OTHER_SESSION), ends=False)
    assert list((await door.list()).artifacts) == []


async def test_the_id_of_another_sessions_artifact_already_exists(door: Door) -> None:
    await door.upload([header(), trailer(b"")])
    with pytest.raises(errors.AlreadyExists) as caught:
        await door.upload([header(session=OTHER_SESSION), trailer(b"")], token=door.write_token(OTHER_SESSION))
    assert caught.value.reason == "ARTIFACT_EXISTS"


async def test_each_token_opens_only_its_own_methods(door: Door) -> None:
    with pytest.raises(errors.PermissionDenied) as reading:
        await door.get(token=door.write_token())
    assert reading.value.metadata == {"scope": "read"}
    with pytest.raises(errors.PermissionDenied) as writing:
        await door.upload([header(), trailer(b"")], token=door.read_token())
    assert writing.value.metadata == {"scope": "write"}
    with pytest.raises(errors.PermissionDenied):
        await door.upload([header(), trailer(b"")], token=door.token(organization=ORGANIZATION, scope="write"))
    with pytest.raises(errors.PermissionDenied):
        await door.list(token=door.token(scope="read"))


async def test_a_token_for_another_service_is_refused(door: Door) -> None:
    with pytest.raises(errors.Unauthenticated) as caught:
        await door.list(token=door.token(audience="attach", organization=ORGANIZATION, scope="read"))
    assert caught.value.reason == "TOKEN_INVALID"


async def test_another_organization_finds_and_lists_nothing(door: Door) -> None:
    await door.upload([header(), *chunks(), trailer()])
    with pytest.raises(errors.NotFound) as caught:
        await door.get(token=door.read_token("o_two"))
    assert caught.value.reason == "ARTIFACT_NOT_FOUND"
    assert list((await door.list(token=door.read_token("o_two"))).artifacts) == []


async def test_pages_follow_one_another_and_their_tokens_fit_one_query_only(door: Door) -> None:
    for number in (1, 2, 3):
        await door.upload([header(number=number), trailer(b"")])
    first = await door.list(page_size=2)
    second = await door.list(page_size=2, page_token=first.next_page_token)
    ids = [artifact.id for page in (first, second) for artifact in page.artifacts]
    assert ids == [artifact_id(number) for number in (1, 2, 3)]
    assert second.next_page_token == ""
    for other in ({"session_id": OTHER_SESSION}, {"kind": artifact_pb2.Artifact.KIND_RECORDING}):
        with pytest.raises(errors.InvalidArgument) as caught:
            await door.list(page_token=first.next_page_token, **other)
        assert caught.value.reason == "INVALID_PAGE_TOKEN"
    with pytest.raises(errors.InvalidArgument):
        await door.list(page_token="made up")
    with pytest.raises(errors.InvalidArgument):
        await door.list(page_size=-1)
