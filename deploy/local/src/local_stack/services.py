"""The fleet's own services as programs: their commands and their settings."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from local_stack.options import StackOptions
from local_stack.ports import LOOPBACK, PortBook
from local_stack.probes import grpc_serving
from local_stack.processes import Command
from local_stack.servers.nats import NatsServer
from local_stack.servers.postgres import PostgresServer
from local_stack.servers.s3 import S3Server
from local_stack.state import StateFolder

# A service ends its running calls, and a node what it still stores, before it leaves.
_STOP_TIMEOUT = timedelta(seconds=20)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceProgram:
    """One process of a service; ready when its gRPC health says so."""

    name: str
    module: str
    settings: Mapping[str, str]
    health_address: str

    async def prepare(self) -> None:
        """A service needs nothing before its start."""

    def command(self) -> Command:
        return Command(argv=(sys.executable, "-m", self.module), env=self.settings, stop_timeout=_STOP_TIMEOUT)

    async def ready(self) -> bool:
        return await grpc_serving(self.health_address)

    async def ended(self) -> None:
        """A service leaves nothing outside its folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePlan:
    """Names every process, its ports and its settings; nothing here starts anything."""

    options: StackOptions
    state: StateFolder
    ports: PortBook
    postgres: PostgresServer
    nats: NatsServer
    s3: S3Server

    def assign_ports(self) -> None:
        """Choose every port once, so that a process keeps its own when it starts again. Raises PortTaken."""
        self.ports.fixed_or_free("session-api-grpc", self.options.grpc_port)
        self.ports.fixed_or_free("session-api-http", self.options.http_port)
        for name in ("artifact-store", "reaper"):
            self.ports.free(f"{name}-grpc")
        for name in self.node_names:
            self.ports.free(f"{name}-grpc")
            self.ports.free(f"{name}-attach")

    @property
    def node_names(self) -> list[str]:
        return [f"node-{number}" for number in range(1, self.options.nodes + 1)]

    @property
    def url(self) -> str:
        return f"http://{self.address('session-api-http')}"

    @property
    def grpc_address(self) -> str:
        return self.address("session-api-grpc")

    def address(self, port_name: str) -> str:
        return f"{LOOPBACK}:{self.ports.given[port_name]}"

    def migration(self, service: ServiceProgram) -> Command:
        return Command(argv=(sys.executable, "-m", service.module, "migrate"), env=service.settings)

    def create_key(self, *arguments: str) -> Command:
        argv = (sys.executable, "-m", "session_api", "create-key", *arguments)
        return Command(argv=argv, env=self._environment(self._database))

    def session_api(self) -> ServiceProgram:
        return self._service(
            "session-api",
            "session_api",
            self._database
            | self._bus
            | {
                "FLEET_GRPC_LISTEN": self.grpc_address,
                "FLEET_HTTP_LISTEN": self.address("session-api-http"),
                "FLEET_EDGE_URL": self.url,
                # People try their own web applications, on this machine.
                "FLEET_ALLOW_PRIVATE_URLS": "true",
                "FLEET_ARTIFACT_STORE_ADDRESS": self.address("artifact-store-grpc"),
                "FLEET_TOKEN_PRIVATE_KEY_FILE": str(self.state.private_key),
            },
        )

    def artifact_store(self) -> ServiceProgram:
        return self._service(
            "artifact-store",
            "artifact_store",
            self._database
            | self._bus
            | {
                "FLEET_GRPC_LISTEN": self.address("artifact-store-grpc"),
                "FLEET_S3_ENDPOINT": self.s3.endpoint,
                "FLEET_S3_REGION": self.s3.region,
                "FLEET_S3_BUCKET": self.s3.bucket,
                "FLEET_S3_ACCESS_KEY": self.s3.access_key,
                "FLEET_S3_SECRET_KEY": self.s3.secret_key,
                "FLEET_TOKEN_PUBLIC_KEY_FILE": str(self.state.public_key),
            },
        )

    def reaper(self) -> ServiceProgram:
        return self._service(
            "reaper",
            "reaper",
            self._bus
            | {
                "FLEET_GRPC_LISTEN": self.address("reaper-grpc"),
                "FLEET_SESSION_API_ADDRESS": self.grpc_address,
                "FLEET_SERVICE_KEY_FILE": str(self.state.api_key("service")),
            },
        )

    def node(self, name: str) -> ServiceProgram:
        attach = self.address(f"{name}-attach")
        return self._service(
            name,
            "browser_node",
            {
                "FLEET_SESSION_API_ADDRESS": self.grpc_address,
                "FLEET_NODE_KEY_FILE": str(self.state.api_key("node")),
                "FLEET_NODE_NAME": name,
                "FLEET_GRPC_LISTEN": self.address(f"{name}-grpc"),
                "FLEET_GRPC_ADVERTISE": self.address(f"{name}-grpc"),
                "FLEET_ATTACH_LISTEN": attach,
                "FLEET_ATTACH_URL": f"ws://{attach}",
                "FLEET_SLOTS": str(self.options.slots),
                "FLEET_STATE_DIR": str(self.state.node(name)),
                "FLEET_ARTIFACT_STORE_ADDRESS": self.address("artifact-store-grpc"),
                "FLEET_WARM_BROWSERS": str(self.options.warm_browsers),
                "FLEET_ALLOW_NO_SANDBOX": str(self.options.allow_no_sandbox).lower(),
                # A person's disk may be well filled and have room all the same.
                "FLEET_DISK_FULL_PERCENT": "98",
                # People try their own web applications; the stack's own servers stay out of pages' reach.
                "FLEET_EGRESS_ALLOW": "127.0.0.0/8,::1",
                "FLEET_EGRESS_OWN_PORTS": ",".join(str(port) for port in self.ports.occupied),
            },
            more=self.options.environment.get("browser-node", {}),
        )

    @property
    def _database(self) -> dict[str, str]:
        return {"FLEET_POSTGRES_DSN": self.postgres.dsn()}

    @property
    def _bus(self) -> dict[str, str]:
        return {"FLEET_NATS_URL": self.nats.url, "FLEET_NATS_TOKEN": self.nats.token}

    def _service(
        self, name: str, module: str, settings: Mapping[str, str], more: Mapping[str, str] | None = None
    ) -> ServiceProgram:
        chosen = {**settings, **(more or {}), **self.options.environment.get(name, {})}
        return ServiceProgram(
            name=name,
            module=module,
            settings=self._environment(chosen),
            health_address=settings["FLEET_GRPC_LISTEN"],
        )

    @staticmethod
    def _environment(settings: Mapping[str, str]) -> dict[str, str]:
        # A client's FLEET_URL from the caller's shell would be an unknown setting to a service.
        own = {name: value for name, value in os.environ.items() if not name.startswith("FLEET_")}
        # gRPC honours a proxy from the environment even for loopback.
        never_proxied = ",".join(filter(None, (own.get("NO_PROXY") or own.get("no_proxy"), LOOPBACK, "localhost")))
        # A service only forks to exec at once; gRPC's own care about forks then only fills the log with warnings.
        quiet = {"PYTHONUNBUFFERED": "1", "GRPC_ENABLE_FORK_SUPPORT": "0"}
        return {**own, "NO_PROXY": never_proxied, "no_proxy": never_proxied, **quiet, **settings}
