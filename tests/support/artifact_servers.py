"""artifact-store's adapters on the real servers of the test run."""

from artifact_store.adapters.minio_blobs import S3Settings
from fleetkit.settings import Secret
from local_stack.servers.s3 import RunningS3


def s3_settings(running: RunningS3) -> S3Settings:
    server = running.server
    return S3Settings(
        endpoint=server.endpoint,
        public_endpoint=server.endpoint,
        region=server.region,
        bucket=server.bucket,
        access_key=server.access_key,
        secret_key=Secret(server.secret_key),
    )
