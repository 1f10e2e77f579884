"""The demo from its first step to its last."""

import asyncio
from datetime import timedelta

import httpx
import psutil

from browserfleet.client import Fleet, FleetSettings
from local_stack.demo.checks import Checks, expect
from local_stack.demo.leftovers import descendants, expect_none, survivors
from local_stack.demo.main_session import MainSession
from local_stack.demo.scene import Scene
from local_stack.demo.short_session import ShortSession
from local_stack.demo.web_application import ORDER_COUNT, running_application
from local_stack.stack import LocalStack

_LAST_EXIT_TIMEOUT = timedelta(seconds=5)


async def tell(scene: Scene, checks: Checks) -> None:
    """Run every step, and end everything that they started, also when cancelled."""
    story = _Story(scene)
    checks.say(f"state in {scene.options.state_dir}, logs in {scene.logs}, results in {scene.output_dir}")
    try:
        await checks.step("the stack starts", story.start_stack)
        await checks.step("a web application starts behind a login", story.start_application)
        await checks.step("a client connects", story.open_fleet)
        for part in (MainSession(scene), ShortSession(scene)):
            for name, action in part.steps():
                await checks.step(name, action)
        await checks.step("everything stops", story.stop)
        await checks.step("no process is left", story.nothing_left)
    finally:
        await scene.blocks.aclose()


class _Story:
    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen: list[psutil.Process] = []

    async def start_stack(self) -> str:
        stack = await self._scene.blocks.enter_async_context(LocalStack(self._scene.options))
        self._scene.started_stack = stack
        names = ", ".join(process.name for process in stack.supervisor.processes)
        return f"{names}; edge {stack.url}, gRPC {stack.grpc_address}"

    async def start_application(self) -> str:
        block = running_application(self._scene.options.state_dir / "datasette", self._scene.logs)
        application = await self._scene.blocks.enter_async_context(block)
        self._scene.started_application = application
        code = await application.answers_to_a_stranger()
        expect(code == httpx.codes.FORBIDDEN, f"it answers {code} without a login")
        return f"Datasette on {application.url} with {ORDER_COUNT} orders; a stranger gets {code}"

    async def open_fleet(self) -> str:
        settings = FleetSettings.from_env(self._scene.stack.client_environment)
        fleet = await self._scene.blocks.enter_async_context(Fleet(settings))
        still_open = [session.id async for session in fleet.list(states=["STARTING", "RUNNING", "CLOSING"])]
        self._scene.opened_fleet = fleet
        return f"{len(still_open)} sessions are open"

    async def stop(self) -> str:
        self._seen = await asyncio.to_thread(descendants)
        await self._scene.blocks.aclose()
        return f"{len(self._seen)} processes were running"

    async def nothing_left(self) -> str:
        # What was seen may have got another parent since: it is looked for by itself as well.
        await expect_none(lambda: [*survivors(self._seen), *descendants()], within=_LAST_EXIT_TIMEOUT)
        return "every one has ended"
