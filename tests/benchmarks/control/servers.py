"""What is measured: real servers, session-api and one reaper, from the local stack's building blocks."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace

from local_stack.files import write_private
from local_stack.options import StackOptions
from local_stack.ports import LOOPBACK, PortBook
from local_stack.servers.nats import NatsServer
from local_stack.servers.postgres import PostgresServer
from local_stack.servers.s3 import S3Server
from local_stack.services import ServicePlan, ServiceProgram
from local_stack.state import StateFolder, claimed
from local_stack.supervisor import Supervisor

ORGANIZATION = "o_load"
_OPERATORS = "o_operator"
_SCOPES = {"member": ORGANIZATION, "node": _OPERATORS, "service": _OPERATORS}


class ControlServers:
    """The processes, by name: postgres, nats, session-api (session-api-2, …), reaper."""

    def __init__(self, plan: ServicePlan, supervisor: Supervisor, *, replicas: int) -> None:
        self.plan = plan
        self._supervisor = supervisor
        self._replicas = [_replica(plan, number) for number in range(1, replicas + 1)]

    @property
    def addresses(self) -> list[str]:
        """Where session-api serves gRPC, each replica of it."""
        return [program.health_address for program in self._replicas]

    @property
    def replica_names(self) -> list[str]:
        return [program.name for program in self._replicas]

    def pid(self, name: str) -> int:
        """Return a process's number. Raises RuntimeError when it does not run."""
        process = self._supervisor.process(name)
        # One that was replaced in the middle has lost what it had measured.
        if process.pid is None or process.starts != 1:
            raise RuntimeError(f"{name} ended; its log is {process.log_file}")
        return process.pid

    async def start_services(self) -> None:
        """Start session-api and the reaper, with everything that they need first. Raises StartFailed."""
        plan, supervisor = self.plan, self._supervisor
        await supervisor.run_once("migrate", plan.migration(plan.session_api()))
        await asyncio.gather(*(self._make_key(scope, organization) for scope, organization in _SCOPES.items()))
        await supervisor.start(*self._replicas, plan.reaper())

    async def _make_key(self, scope: str, organization: str) -> None:
        command = self.plan.create_key("--organization", organization, "--scope", scope)
        key = await self._supervisor.output_of(f"create-key-{scope}", command)
        await asyncio.to_thread(write_private, self.plan.state.api_key(scope), key.strip())


@contextlib.asynccontextmanager
async def control_servers(options: StackOptions, *, replicas: int) -> AsyncIterator[ControlServers]:
    """Run Postgres and NATS within the block, and session-api and the reaper once they are started."""
    with claimed(options.state_dir) as state:
        plan = await asyncio.to_thread(_plan, options, state)
        async with Supervisor(logs=state.logs) as supervisor:
            await supervisor.start(plan.postgres, plan.nats)
            yield ControlServers(plan, supervisor, replicas=replicas)


def _plan(options: StackOptions, state: StateFolder) -> ServicePlan:
    state.make_token_keys()
    ports = PortBook()
    plan = ServicePlan(
        options=options,
        state=state,
        ports=ports,
        postgres=PostgresServer.at(state.server("postgres"), port=ports.free("postgres")),
        nats=NatsServer.at(state.server("nats"), ports=ports),
        # Described, never started: nothing is stored here.
        s3=S3Server.at(state.server("s3"), ports=ports),
    )
    plan.assign_ports()
    return plan


def _replica(plan: ServicePlan, number: int) -> ServiceProgram:
    program = plan.session_api()
    if number == 1:
        return program
    grpc_address, http_address = (
        f"{LOOPBACK}:{plan.ports.free(f'session-api-{number}-{kind}')}" for kind in ("grpc", "http")
    )
    listening = {"FLEET_GRPC_LISTEN": grpc_address, "FLEET_HTTP_LISTEN": http_address}
    return replace(
        program,
        name=f"session-api-{number}",
        settings={**program.settings, **listening},
        health_address=grpc_address,
    )
