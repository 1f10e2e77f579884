"""The stack as a block: everything runs and is ready inside it, and nothing is left after it."""

import asyncio
import contextlib
import os
from types import TracebackType
from typing import Self

from local_stack.files import write_private
from local_stack.managed import ManagedProcess
from local_stack.options import StackOptions
from local_stack.orphans import collecting_orphans
from local_stack.ports import PortBook
from local_stack.servers.nats import NatsServer
from local_stack.servers.postgres import PostgresServer
from local_stack.servers.s3 import S3Server
from local_stack.services import ServicePlan
from local_stack.state import StateFolder, claimed
from local_stack.supervisor import Supervisor

DEMO_ORGANIZATION = "o_demo"
_OPERATOR_ORGANIZATION = "o_operator"


class LocalStack:
    """`async with LocalStack(options) as stack:` runs the servers, the services and the nodes.

    Entering raises StateTaken, PortTaken, NoIdentity or StartFailed, and leaves nothing running then.
    """

    def __init__(self, options: StackOptions | None = None) -> None:
        self.options = options or StackOptions()
        self._blocks = contextlib.AsyncExitStack()
        self._supervisor: Supervisor | None = None
        self._plan: ServicePlan | None = None
        self.api_key = ""

    @property
    def url(self) -> str:
        """The HTTP edge."""
        return self.plan.url

    @property
    def grpc_address(self) -> str:
        """`host:port` of the gRPC front door."""
        return self.plan.grpc_address

    @property
    def plan(self) -> ServicePlan:
        """Every address and setting. Raises RuntimeError before the start."""
        if self._plan is None:
            raise RuntimeError("the stack was not started")
        return self._plan

    @property
    def supervisor(self) -> Supervisor:
        if self._supervisor is None:
            raise RuntimeError("the stack was not started")
        return self._supervisor

    @property
    def client_environment(self) -> dict[str, str]:
        """The variables that `Fleet.from_env` reads."""
        return {"FLEET_URL": self.url, "FLEET_GRPC": self.grpc_address, "FLEET_API_KEY": self.api_key}

    def process(self, name: str) -> ManagedProcess:
        """Return a process: postgres, nats, s3, artifact-store, session-api, reaper, node-1, … Raises KeyError."""
        return self.supervisor.process(name)

    async def wait_ready(self) -> None:
        """Return when every process serves, also one that has just been killed. Raises StartFailed."""
        await asyncio.gather(*(process.wait_ready() for process in self.supervisor.processes))

    async def create_key(self, organization: str, scope: str = "member", *arguments: str) -> str:
        """Make and return an API key; `arguments` go to the command as they are."""
        command = self.plan.create_key("--organization", organization, "--scope", scope, *arguments)
        return (await self.supervisor.output_of("create-key", command)).strip()

    def kill(self) -> None:
        """Kill every process, for a person who does not want to wait for the end of the block, which comes soon."""
        if self._supervisor is not None:
            self._supervisor.kill()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as blocks:
            state = blocks.enter_context(claimed(self.options.state_dir))
            self._plan = await asyncio.to_thread(_plan, self.options, state)
            self._supervisor = Supervisor(logs=state.logs)
            await blocks.enter_async_context(collecting_orphans(self._supervisor.pids))
            await blocks.enter_async_context(self._supervisor)
            await self._start(self._plan, self._supervisor)
            self._blocks = blocks.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._blocks.aclose()

    async def _start(self, plan: ServicePlan, supervisor: Supervisor) -> None:
        await supervisor.start(plan.postgres, plan.nats, plan.s3)
        await asyncio.gather(
            supervisor.run_once("migrate-session-api", plan.migration(plan.session_api())),
            supervisor.run_once("migrate-artifact-store", plan.migration(plan.artifact_store())),
        )
        self.api_key, _, _ = await asyncio.gather(
            self._kept_key("member", DEMO_ORGANIZATION),
            self._kept_key("service", _OPERATOR_ORGANIZATION),
            self._kept_key("node", _OPERATOR_ORGANIZATION),
        )
        await supervisor.start(plan.artifact_store(), plan.session_api())
        await supervisor.start(plan.reaper(), *(plan.node(name) for name in plan.node_names))
        await asyncio.to_thread(plan.state.describe, self._description())

    async def _kept_key(self, scope: str, organization: str) -> str:
        path = self.plan.state.api_key(scope)
        if not await asyncio.to_thread(path.exists):
            key = await self.create_key(organization, scope)
            await asyncio.to_thread(write_private, path, key)
        return (await asyncio.to_thread(path.read_text)).strip()

    def _description(self) -> dict[str, object]:
        return {
            "url": self.url,
            "grpc": self.grpc_address,
            "api_key": self.api_key,
            "organization": DEMO_ORGANIZATION,
            "supervisor_pid": os.getpid(),
            "nodes": self.plan.node_names,
            "logs": str(self.plan.state.logs),
            "ports": self.plan.ports.given,
        }


def _plan(options: StackOptions, state: StateFolder) -> ServicePlan:
    state.make_token_keys()
    ports = PortBook(state.previous_ports())
    plan = ServicePlan(
        options=options,
        state=state,
        ports=ports,
        postgres=PostgresServer.at(state.server("postgres"), port=ports.free("postgres")),
        nats=NatsServer.at(state.server("nats"), ports=ports),
        s3=S3Server.at(state.server("s3"), ports=ports),
    )
    plan.assign_ports()
    return plan
