"""Real browsers in the test's own process, behind a real attach server."""

import asyncio
import contextlib
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from websockets.asyncio.client import ClientConnection

from browser_node.adapters.chromium.browser import ChromiumBrowser
from browser_node.adapters.chromium.confinement.confinement import Confinement, confining
from browser_node.adapters.chromium.extensions.loader import ExtensionLoader
from browser_node.adapters.chromium.extensions.shelf import ExtensionShelf
from browser_node.adapters.chromium.launch.blank import BlankBrowser
from browser_node.adapters.chromium.launch.handover import HandOver
from browser_node.adapters.chromium.launch.kinds import Model, find_program
from browser_node.adapters.chromium.launch.launcher import BrowserStarter, ChromiumLauncher, pooled_model
from browser_node.adapters.chromium.launch.plots import BrowserPlots
from browser_node.adapters.chromium.launch.pool import WarmPool
from browser_node.adapters.chromium.launch.program import Program
from browser_node.adapters.chromium.launch.room import Room
from browser_node.adapters.chromium.processes.accounts import Accounts, claimed_accounts
from browser_node.adapters.chromium.processes.folders import Scratch
from browser_node.adapters.chromium.processes.processes import ProcessInfo, all_processes, read_process
from browser_node.adapters.disk_spool import DiskSpool
from browser_node.adapters.doors.cdp_door import CdpDoor
from browser_node.adapters.doors.live_door import LiveDoor
from browser_node.adapters.doors.server import DoorServer
from browser_node.adapters.egress.forwarder import forwarding
from browser_node.adapters.egress.resolver import Resolver
from browser_node.adapters.fleet_keys import FleetKeys, TokenGate
from browser_node.domain.browser import BrowserKind, SessionId
from browser_node.domain.egress import EgressPolicy, EgressRule
from browser_node.domain.limits import SessionLimits
from browser_node.domain.options import BrowserOptions, BrowserTier
from browser_node.domain.proxies import ProxyLocations
from browser_node.usecases.browsers import Browsers
from browser_node.usecases.ports import SpooledArtifact
from fleetkit.clock import SystemClock
from fleetkit.ids import RandomIds
from fleetkit.tokens import TokenSigner
from tests.support.node_fakes import SESSION, FakeMachine, an_order
from tests.support.waiting import eventually

# Pages of tests are on loopback.
LOOPBACK_TOO = EgressPolicy(allow=(EgressRule.parse("127.0.0.0/8"), EgressRule.parse("::1")))


def a_signer() -> TokenSigner:
    """A signer with a key of its own."""
    key = Ed25519PrivateKey.generate()
    return TokenSigner(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def attach_token(signer: TokenSigner, *, session_id: str = SESSION, epoch: int = 1, scope: str = "full") -> str:
    return signer.sign(audience="attach", subject=session_id, ttl=timedelta(minutes=5), epoch=str(epoch), scope=scope)


def processes_of(pid: int) -> list[ProcessInfo]:
    """Every process of the browser with this main process. Blocks."""
    infos = list(all_processes())
    main = next((info for info in infos if info.pid == pid), None)
    if main is None:
        return []
    return [info for info in infos if info.session == pid or (main.user != 0 and info.user == main.user)]


def alive(pids: list[int]) -> list[int]:
    """Those of the processes that have not ended. Blocks."""
    return [info.pid for info in map(read_process, pids) if info is not None and not info.zombie]


async def until_ended(pids: list[int], *, within: float) -> None:
    """Return when none of the processes runs. Fails the test after `within` seconds."""

    async def check() -> bool:
        return not await asyncio.to_thread(alive, pids)

    await eventually(check, within=within, what="the processes have ended")


def chrome_program() -> Path:
    found = find_program(BrowserKind.CHROME)
    assert found is not None, "these tests need Chrome or Chromium: deploy/local/install"
    return found


def lean_program() -> Path:
    found = find_program(BrowserKind.CHROME, tier=BrowserTier.LEAN)
    assert found is not None, "these tests need chromium-headless-shell: deploy/local/install"
    return found


def the_programs() -> dict[Model, Program]:
    """Chrome in both tiers, without the trial that a node begins with. Blocks."""
    chrome, lean = Model(BrowserKind.CHROME), Model(BrowserKind.CHROME, BrowserTier.LEAN)
    return {
        chrome: Program(path=chrome_program(), product="", sandboxed=True),
        lean: Program(path=lean_program(), product="", sandboxed=True, model=lean),
    }


class RawClient:
    """CDP by hand, on an open socket."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._ids = itertools.count(1)

    async def send(self, method: str, params: dict[str, object] | None = None, session: str | None = None) -> int:
        """Send a command; nobody reads its answer yet."""
        number = next(self._ids)
        message: dict[str, object] = {"id": number, "method": method, "params": params or {}}
        await self._socket.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        return number

    async def answer(self, number: int) -> dict[str, Any]:  # CDP answers have any shape
        """Read until the answer to a command; events before it are dropped."""
        while True:
            message: dict[str, Any] = json.loads(await self._socket.recv())
            if message.get("id") == number:
                return message

    async def call(
        self, method: str, params: dict[str, object] | None = None, session: str | None = None
    ) -> dict[str, Any]:
        """Return the result of a command."""
        answer = await self.answer(await self.send(method, params, session))
        result: dict[str, Any] = answer["result"]
        return result

    async def open_page(self) -> str:
        """Attach to the first page and return the session."""
        targets = (await self.call("Target.getTargets"))["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        attached = await self.call("Target.attachToTarget", {"targetId": page, "flatten": True})
        return str(attached["sessionId"])


@dataclass
class Host:
    """A node's browsers without its dealings with others."""

    browsers: Browsers
    spool: DiskSpool
    scratch: Path
    accounts: Accounts
    signer: TokenSigner
    pool: WarmPool[BlankBrowser]
    plots: BrowserPlots
    port: int = 0
    taken: list[SpooledArtifact] = field(default_factory=list)

    def url(self, token: str | None = None, *, session_id: str = SESSION) -> str:
        return f"ws://127.0.0.1:{self.port}/attach/{session_id}?token={token or attach_token(self.signer)}"

    def live_url(self, *, control: int | None = None) -> str:
        """Where to watch; with the generation of a control lease, also to act."""
        claims = {"scope": "view"} if control is None else {"scope": "control", "control": str(control)}
        token = self.signer.sign(audience="attach", subject=SESSION, ttl=timedelta(minutes=5), epoch="1", **claims)
        return f"ws://127.0.0.1:{self.port}/live/{SESSION}?token={token}"

    async def start(
        self,
        session_id: SessionId = SESSION,
        *,
        options: BrowserOptions | None = None,
        kind: BrowserKind = BrowserKind.CHROME,
    ) -> ChromiumBrowser:
        await self.browsers.start(an_order(session_id=session_id, options=options, kind=kind))
        browser = self.browsers.find(session_id, 1)
        assert isinstance(browser, ChromiumBrowser)
        return browser

    async def warm(self, count: int = 1) -> None:
        """Wait until so many browsers stand ready."""

        async def check() -> bool:
            await self.pool.tend()
            return self.pool.count >= count

        await eventually(check, within=20, what=f"{count} browsers stand ready")

    async def artifacts(self, count: int) -> list[SpooledArtifact]:
        """Wait for so many files in the spool."""
        async with asyncio.timeout(20):
            while len(self.taken) < count:
                self.taken.append(await self.spool.next())
        return self.taken


@contextlib.contextmanager
def short_folder() -> Iterator[Path]:
    """A folder that browsers of other users can pass through."""
    with tempfile.TemporaryDirectory(prefix="bft-") as name:
        Path(name).chmod(0o711)
        yield Path(name)


@contextlib.asynccontextmanager
async def hosting_real_browsers(
    limits: SessionLimits | None = None,
    *,
    confined: bool = True,
    programs: Mapping[Model, Program] | None = None,
    warm: int = 0,
    slots: int = 2,
    locations: ProxyLocations = ProxyLocations(),  # noqa: B008  # never changes
    resolver: Resolver | None = None,
    shelf: ExtensionShelf | None = None,
) -> AsyncIterator[Host]:
    """Host browsers as a node does; without `confined`, as on a machine that allows neither groups nor walls.

    `warm` of them stand ready once `Host.warm` was awaited.
    """
    ids, keys, signer, clock = RandomIds(), FleetKeys(), a_signer(), SystemClock()
    keys.trust(signer.public_key_pem, node_id="nod_1")
    async with contextlib.AsyncExitStack() as stack:
        accounts = await asyncio.to_thread(stack.enter_context, claimed_accounts())
        root = stack.enter_context(short_folder())
        scratch = Scratch(root / "b")
        await asyncio.to_thread(scratch.prepare)
        spool = DiskSpool(root / "spool", ids=ids)
        await spool.recover()
        confinement = Confinement(limits=limits or SessionLimits())
        if confined:
            state = root / "state"
            state.mkdir(mode=0o700)
            opened = confining(confinement.limits, state_dir=state, scratch=root / "b", secrets=())
            confinement = await asyncio.to_thread(opened.__enter__)
            stack.push_async_callback(asyncio.to_thread, opened.__exit__, None, None, None)
        plots = BrowserPlots(scratch=scratch, accounts=accounts, confinement=confinement)
        forwarder = await stack.enter_async_context(
            forwarding(policy=LOOPBACK_TOO, locations=locations, resolver=resolver)
        )
        known = programs if programs is not None else await asyncio.to_thread(the_programs)
        starter, pooled = BrowserStarter(plots=plots, forwarder=forwarder), known[pooled_model(known)]
        pool = WarmPool(
            start=lambda: starter.start(pooled),
            room=Room(plots=plots, machine=FakeMachine(), slots=slots).beside,
            clock=clock,
            size=warm,
            parallel_starts=1,
        )
        extensions = ExtensionLoader(shelf or ExtensionShelf({}), captcha_solver=None)
        hand_over = HandOver(extensions=extensions, spool=spool, ids=ids)
        launcher = ChromiumLauncher(starter=starter, programs=known, hand_over=hand_over, pool=pool)
        browsers = Browsers(launcher=launcher, clock=clock, slots=slots, parallel_starts=1)
        host = Host(
            browsers=browsers, spool=spool, scratch=root / "b", accounts=accounts, signer=signer, pool=pool, plots=plots
        )
        server = DoorServer(
            gate=TokenGate(keys=keys, browsers=browsers), doors={"attach": CdpDoor(), "live": LiveDoor()}
        )
        async with browsers.hosting(), pool.open(), server.listening("127.0.0.1:0") as listening:
            host.port = listening.port
            yield host
