"""How a browser-node is put together; read it as the order of its start."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from browser_node.adapters.artifact_store_client import GrpcArtifactStore
from browser_node.adapters.attach_server import AttachServer
from browser_node.adapters.chromium.accounts import claimed_accounts
from browser_node.adapters.chromium.adoption import OrphanCollector, adopt_orphans
from browser_node.adapters.chromium.confinement import confining
from browser_node.adapters.chromium.folders import Scratch, default_scratch
from browser_node.adapters.chromium.launcher import BrowserPlots, ChromiumLauncher, find_programs
from browser_node.adapters.disk_spool import DiskSpool
from browser_node.adapters.fleet_keys import FleetKeys, TokenGate
from browser_node.adapters.linux_machine import LinuxMachine
from browser_node.adapters.session_api_client import GrpcFleetGateway
from browser_node.rpc.authenticator import NodeAuthenticator
from browser_node.rpc.browser_servicer import BrowserServicer
from browser_node.settings import Settings
from browser_node.usecases.browsers import Browsers
from browser_node.usecases.membership import Membership
from browser_node.usecases.ports import NodeProfile
from browser_node.usecases.uploads import Uploads
from browserfleet.node.v1 import browser_service_pb2_grpc
from fleetkit.clock import SystemClock
from fleetkit.ids import RandomIds
from fleetkit.lifecycle import Stop, background, every
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import Service, serving

_DEADLINE_PASS = timedelta(milliseconds=250)
_ISOLATION_PASS = timedelta(seconds=1)
_ORPHAN_PASS = timedelta(seconds=1)
_PRESSURE_PASS = timedelta(seconds=5)
_FLUSH_TIMEOUT = timedelta(seconds=10)
_RPC_GRACE = timedelta(seconds=2)


async def run(settings: Settings, stop: Stop) -> None:
    """Serve until `stop` is set, then drain. Raises when the machine cannot host browsers."""
    adopt_orphans()
    ids, clock, keys = RandomIds(), SystemClock(), FleetKeys()
    scratch_dir = settings.scratch_dir or default_scratch(settings.state_dir)
    scratch, machine = Scratch(scratch_dir), LinuxMachine(disks=(scratch_dir, settings.state_dir))
    with (
        owned_state(settings.state_dir),
        claimed_accounts() as accounts,
        scratch.prepared(),
        confining(
            settings.session_limits,
            state_dir=settings.state_dir,
            scratch=scratch_dir,
            secrets=settings.secret_files,
        ) as confinement,
    ):
        await machine.measure()
        spool = DiskSpool(settings.state_dir / "spool", ids=ids)
        await spool.recover()
        plots = BrowserPlots(scratch=scratch, accounts=accounts, confinement=confinement)
        programs = await find_programs(
            plots, configured=settings.chrome_binary, allow_no_sandbox=settings.allow_no_sandbox
        )
        launcher = ChromiumLauncher(plots=plots, programs=programs, spool=spool, ids=ids)
        browsers = Browsers(
            launcher=launcher, clock=clock, slots=settings.slots, parallel_starts=max(1, os.cpu_count() or 1)
        )
        profile = NodeProfile(
            name=settings.node_name,
            address=settings.grpc_advertise,
            attach_url=settings.attach_url,
            slots=settings.slots,
            browsers=launcher.installed,
        )
        service = Service(
            "browserfleet.node.v1.BrowserService",
            lambda server: browser_service_pb2_grpc.add_BrowserServiceServicer_to_server(
                BrowserServicer(browsers), server
            ),
        )
        attach = AttachServer(TokenGate(keys=keys, browsers=browsers))
        async with (
            channel(settings.session_api_address, tls=settings.tls) as session_api,
            channel(settings.artifact_store_address, retries=False, tls=settings.tls) as artifact_store,
        ):
            uploads = Uploads(queue=spool, store=GrpcArtifactStore(artifact_store))
            gateway = GrpcFleetGateway(session_api, key=settings.node_key)
            membership = Membership(
                browsers=browsers,
                machine=machine,
                gateway=gateway,
                profile=profile,
                keys=keys,
                clock=clock,
                disk_limit=settings.disk_full_percent / 100,
            )
            async with (
                background(
                    uploads.run(),
                    every(_ORPHAN_PASS, OrphanCollector().collect),
                    every(_PRESSURE_PASS, machine.measure),
                ),
                browsers.hosting(),
                attach.listening(settings.attach_listen),
                serving(
                    settings.grpc_listen,
                    [service],
                    authenticator=NodeAuthenticator(keys),
                    grace=_RPC_GRACE,
                    tls=settings.tls,
                ) as server,
            ):
                async with background(
                    membership.run(),
                    every(_DEADLINE_PASS, browsers.enforce_deadlines),
                    every(_ISOLATION_PASS, membership.enforce_isolation),
                ):
                    await stop.wait()
                    await server.leave()
                    await membership.drain(within=settings.drain_timeout, at_once=stop.at_once)
                await membership.leave()
                await uploads.flush(_FLUSH_TIMEOUT)


@contextlib.contextmanager
def owned_state(folder: Path) -> Iterator[None]:
    """Hold the node's state alone within the block. Raises OSError when another node has it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (folder / "node.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise OSError(f"another node runs with the state in {folder}") from error
        yield
