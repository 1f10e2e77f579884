"""How a browser-node is put together; read it as the order of its start."""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from browser_node.adapters.artifact_store_client import GrpcArtifactStore
from browser_node.adapters.captcha.solver import opened_captcha_solver
from browser_node.adapters.chromium.confinement.confinement import confining
from browser_node.adapters.chromium.extensions.loader import ExtensionLoader
from browser_node.adapters.chromium.extensions.shelf import stocked_shelf
from browser_node.adapters.chromium.launch.blank import BlankBrowser
from browser_node.adapters.chromium.launch.detection import find_programs
from browser_node.adapters.chromium.launch.handover import HandOver
from browser_node.adapters.chromium.launch.launcher import BrowserStarter, ChromiumLauncher, pooled_model
from browser_node.adapters.chromium.launch.plots import BrowserPlots
from browser_node.adapters.chromium.launch.pool import WarmPool
from browser_node.adapters.chromium.launch.room import Room
from browser_node.adapters.chromium.processes.accounts import claimed_accounts
from browser_node.adapters.chromium.processes.adoption import OrphanCollector, adopt_orphans
from browser_node.adapters.chromium.processes.folders import Scratch, default_scratch
from browser_node.adapters.disk_spool import DiskSpool
from browser_node.adapters.doors.cdp_door import CdpDoor
from browser_node.adapters.doors.live_door import LiveDoor
from browser_node.adapters.doors.server import DoorServer
from browser_node.adapters.egress.forwarder import forwarding
from browser_node.adapters.fleet_keys import FleetKeys, TokenGate
from browser_node.adapters.linux_machine import LinuxMachine
from browser_node.adapters.session_api_client import GrpcFleetGateway
from browser_node.domain.browser import BrowserKind
from browser_node.rpc.authenticator import NodeAuthenticator
from browser_node.rpc.browser_servicer import BrowserServicer
from browser_node.settings import Settings
from browser_node.usecases.browsers import Browsers
from browser_node.usecases.membership import Membership
from browser_node.usecases.ports import Machine, NodeCapabilities, NodeProfile
from browser_node.usecases.uploads import Uploads
from browserfleet.node.v1 import browser_service_pb2_grpc
from fleetkit.clock import SystemClock
from fleetkit.ids import RandomIds
from fleetkit.lifecycle import Stop, background, every
from fleetkit.rpc.client import channel
from fleetkit.rpc.server import Service, serving

_CORES = os.cpu_count() or 1
_DEADLINE_PASS = timedelta(milliseconds=250)
_ISOLATION_PASS = timedelta(seconds=1)
_POOL_PASS = timedelta(milliseconds=250)
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
    async with contextlib.AsyncExitStack() as stack:
        stack.enter_context(owned_state(settings.state_dir))
        accounts = stack.enter_context(claimed_accounts())
        stack.enter_context(scratch.prepared())
        confinement = stack.enter_context(
            confining(
                settings.session_limits,
                state_dir=settings.state_dir,
                scratch=scratch_dir,
                secrets=settings.secret_files,
            )
        )
        await machine.measure()
        spool = DiskSpool(settings.state_dir / "spool", ids=ids)
        await spool.recover()
        plots = BrowserPlots(scratch=scratch, accounts=accounts, confinement=confinement)
        forwarder = await stack.enter_async_context(
            forwarding(policy=settings.egress, locations=settings.proxy_locations)
        )
        shelf = await stack.enter_async_context(
            stocked_shelf(
                scratch_dir / "extensions",
                extensions=settings.extensions_dir,
                ad_blocker=settings.ad_blocker_dir,
            )
        )
        solver = await stack.enter_async_context(opened_captcha_solver(settings.captcha_solver))
        extensions = ExtensionLoader(shelf, captcha_solver=solver)
        hand_over = HandOver(extensions=extensions, spool=spool, ids=ids)
        starter = BrowserStarter(plots=plots, forwarder=forwarder)
        launcher, pool = await chromium(settings, plots=plots, starter=starter, hand_over=hand_over, machine=machine)
        if settings.extensions_dir or settings.ad_blocker_dir:
            await launcher.prove(extensions)
        browsers = Browsers(launcher=launcher, clock=clock, slots=settings.slots, parallel_starts=_CORES)
        profile = NodeProfile(
            name=settings.node_name,
            address=settings.grpc_advertise,
            attach_url=settings.attach_url,
            slots=settings.slots,
            browsers=launcher.installed,
            capabilities=NodeCapabilities(
                tiers=launcher.tiers, proxy_locations=tuple(forwarder.locations), extensions=extensions.names
            ),
        )
        service = Service(
            "browserfleet.node.v1.BrowserService",
            lambda server: browser_service_pb2_grpc.add_BrowserServiceServicer_to_server(
                BrowserServicer(browsers), server
            ),
        )
        doors = DoorServer(
            gate=TokenGate(keys=keys, browsers=browsers),
            doors={"attach": CdpDoor(scheme=settings.attach_url.partition(":")[0]), "live": LiveDoor()},
        )
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
                doors.listening(settings.attach_listen),
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
                    async with pool.open(), background(every(_POOL_PASS, pool.tend, wake=pool.news)):
                        await stop.wait()
                    await server.leave()
                    await membership.drain(within=settings.drain_timeout, at_once=stop.at_once)
                await membership.leave()
                await uploads.flush(_FLUSH_TIMEOUT)


async def chromium(
    settings: Settings, *, plots: BrowserPlots, starter: BrowserStarter, hand_over: HandOver, machine: Machine
) -> tuple[ChromiumLauncher, WarmPool[BlankBrowser]]:
    """Find the machine's browsers and return what gives them to sessions. Raises NoBrowser."""
    programs = await find_programs(
        plots,
        configured={BrowserKind.CHROME: settings.chrome_binary, BrowserKind.MSEDGE: settings.edge_binary},
        allow_no_sandbox=settings.allow_no_sandbox,
        templates=settings.state_dir / "templates",
    )
    pooled = programs[pooled_model(programs)]
    pool = WarmPool(
        start=lambda: starter.start(pooled),
        room=Room(plots=plots, machine=machine, slots=settings.slots).beside,
        clock=SystemClock(),
        size=settings.warm_browsers,
        # Half of the machine is left to the sessions that run.
        parallel_starts=max(1, _CORES // 2),
    )
    return ChromiumLauncher(starter=starter, programs=programs, hand_over=hand_over, pool=pool), pool


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
