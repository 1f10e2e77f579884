"""A session that nobody closes, of another organization, whose sessions live 15 seconds at most."""

import asyncio
import itertools
from datetime import UTC, datetime, timedelta

from browserfleet.client import CloseReason, Fleet, FleetSettings, Session, SessionEnded, SessionNotFound
from local_stack.demo.checks import NotSeen, expect
from local_stack.demo.leftovers import Family, browsers, expect_one_ended
from local_stack.demo.scene import Scene, Steps, needed

_CAP = timedelta(seconds=15)
# Invariant: nothing lives past its deadline by more than this.
_MOST_OVERRUN = timedelta(seconds=5)
_BROWSER_END_TIMEOUT = timedelta(seconds=5)


class ShortSession:
    """The steps that share the session that is left alone."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._fleet: Fleet | None = None
        self._session: Session | None = None
        # The browsers of the stack while this session had one of them.
        self._browsers: list[Family] = []
        self._reaped = False

    def steps(self) -> Steps:
        return [
            ("another organization's session is capped, and says so", self._create),
            ("the first organization's key does not find it", self._hidden),
            ("it is reaped by itself while a client is attached", self._reaped_while_attached),
            ("that client learns why", self._client_learns),
            ("the reaped session leaves no browser process", self._no_browser),
        ]

    @property
    def session(self) -> Session:
        return needed(self._session, "the short session")

    async def _create(self) -> str:
        stack = self._scene.stack
        key = await stack.create_key("o_other", "member", "--max-timeout", f"{_CAP.total_seconds():.0f}")
        settings = FleetSettings.from_env({**stack.client_environment, "FLEET_API_KEY": key})
        self._fleet = await self._scene.blocks.enter_async_context(Fleet(settings))
        async with self._fleet.session(timeout="5m", keep=True) as session:
            self._session = session
        expect(session.timeout == _CAP, f"its timeout is {session.timeout}")
        expect(session.warnings, "no warning came with it")
        return f"{session.id}: {session.warnings[0]}"

    async def _hidden(self) -> str:
        try:
            await self._scene.fleet.get(self.session.id)
        except SessionNotFound as refusal:
            return refusal.reason
        raise NotSeen("it was found")

    async def _reaped_while_attached(self) -> str:
        deadline = self.session.expire_time
        if deadline is None:
            raise NotSeen("the session has no deadline")
        cut = asyncio.Event()
        browser = await self.session.playwright()
        self._browsers = await asyncio.to_thread(browsers)
        browser.on("disconnected", lambda _: cut.set())
        await browser.contexts[0].pages[0].goto(self._scene.application.url)
        try:
            async with asyncio.timeout((deadline + _MOST_OVERRUN - datetime.now(UTC)).total_seconds()):
                await cut.wait()
        except TimeoutError:
            raise NotSeen(f"the client is still attached {_MOST_OVERRUN.seconds} s after the deadline") from None
        late = (datetime.now(UTC) - deadline).total_seconds()
        expect(late > -1, f"the client was cut off {-late:.1f} s before the deadline")
        self._reaped = True
        return f"the client was cut off {late:.2f} s after the deadline"

    async def _client_learns(self) -> str:
        expect(self._reaped, "not tried: the session was not reaped")
        try:
            await self.session.playwright()
        except SessionEnded as ended:
            reason = ended.close_reason
        else:
            raise NotSeen("it attached again")
        expect(reason is CloseReason.TIMED_OUT, f"the reason is {reason}")
        async with asyncio.timeout(_MOST_OVERRUN.total_seconds()):
            for pause in itertools.repeat(0.1):
                if (await self.session.refresh()).state.final:
                    break
                await asyncio.sleep(pause)
        return f"{reason}, {self.session.state}: {self.session.close_message or 'no message'}"

    async def _no_browser(self) -> str:
        expect(self._session is not None, "not tried: the short session did not come about")
        seconds = await expect_one_ended(self._browsers, within=_BROWSER_END_TIMEOUT)
        return f"gone {seconds:.1f} s later; {len(browsers())} stand ready for others"
