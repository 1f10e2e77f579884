"""The main job: one session, two runs one after the other, what they leave, and the end."""

import asyncio
import json
import sys
from datetime import timedelta
from pathlib import Path

import httpx

from browserfleet.client import Artifact, CloseReason, Session, SessionEnded, SessionState
from local_stack.demo.checks import NotSeen, expect
from local_stack.demo.evidence import csv_rows, sha256_of, watch
from local_stack.demo.first_run import log_in_and_open_table
from local_stack.demo.leftovers import Family, browsers, expect_one_ended
from local_stack.demo.scene import Scene, Steps, needed
from local_stack.demo.second_run import Found
from local_stack.demo.web_application import USER
from local_stack.processes import Command, spawn, tail, terminate

_SECOND_RUN_TIMEOUT = timedelta(seconds=90)
_STORE_TIMEOUT = timedelta(seconds=60)
_BROWSER_END_TIMEOUT = timedelta(seconds=5)


class MainSession:
    """The steps that share one session."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._session: Session | None = None
        # The browsers of the stack while this session had one of them.
        self._browsers: list[Family] = []
        self._found: Found | None = None

    def steps(self) -> Steps:
        return [
            ("a session is created", self._create),
            ("run 1 attaches by ID, logs in, opens a table", self._run_1),
            ("run 2, another program, finds the same page", self._run_2),
            ("run 2 is still logged in", self._still_logged_in),
            ("the exported CSV comes out of the store, whole", self._csv),
            ("the video of run 1 comes out of the store", lambda: self._video(1)),
            ("the video of run 2 comes out of the store", lambda: self._video(2)),
            ("the session is closed", self._close),
            ("a third attach is refused, with the reason", self._third_attach),
            ("the closed session leaves no browser process", self._no_browser),
        ]

    @property
    def session(self) -> Session:
        return needed(self._session, "the session")

    async def _create(self) -> str:
        # Kept open by the demo itself: the steps attach and detach in programs of their own.
        async with self._scene.fleet.session(timeout="10m", keep=True) as session:
            self._session = session
        expect(session.state is SessionState.RUNNING, f"it is {session.state}")
        return f"{session.id}, {session.browser_product}, until {session.expire_time:%H:%M:%S} UTC"

    async def _run_1(self) -> str:
        session = await self._scene.fleet.attach(self.session.id)
        title = await log_in_and_open_table(session, self._scene.application)
        return f"the page shows {title!r}; run 1 has detached"

    async def _run_2(self) -> str:
        self._found = await self._second_program()
        wanted = self._scene.application.orders_url
        expect(self._found.url == wanted, f"the page is {self._found.url}, not {wanted}")
        return f"{self._found.url}, {self._found.page_count} page open"

    async def _second_program(self) -> Found:
        command = Command(
            argv=(sys.executable, "-m", "local_stack.demo.second_run", self.session.id),
            env=self._scene.client_environment(),
        )
        log = self._scene.logs / "second-run.log"
        process = await spawn(command, log, keep_output=True)
        try:
            async with asyncio.timeout(_SECOND_RUN_TIMEOUT.total_seconds()):
                output, _ = await process.communicate()
        finally:
            await terminate(process, command)
        if process.returncode != 0:
            raise NotSeen(f"run 2 ended with {process.returncode}; its log is {log}\n{tail(log)}")
        return Found(**json.loads(output))

    async def _still_logged_in(self) -> str:
        found = needed(self._found, "run 2")
        expect(found.user == USER, f"the page shows {found.user!r}")
        expect(found.user_after_reload == USER, f"after a reload the page shows {found.user_after_reload!r}")
        return f"the page shows {found.user_after_reload!r}, also after a reload"

    async def _csv(self) -> str:
        found = needed(self._found, "run 2")
        (download,) = await self.session.downloads(wait=_STORE_TIMEOUT)
        expect(download.name == found.file_name, f"it is named {download.name!r}, not {found.file_name!r}")
        path = await self._save(download, "orders.csv")
        rows, wanted = await asyncio.to_thread(csv_rows, path), await asyncio.to_thread(self._scene.application.rows)
        expect(rows == wanted, f"its {len(rows) - 1} rows are not the {len(wanted) - 1} rows of the database")
        return f"{path.name}, {download.size} bytes, {len(rows) - 1} rows, each as in the database"

    async def _video(self, run: int) -> str:
        recordings = await self.session.recordings(wait=_STORE_TIMEOUT, at_least=run)
        run_ids = {recording.run_id for recording in recordings}
        expect(len(run_ids) == len(recordings), "two recordings claim the same run")
        path = await self._save(recordings[run - 1], f"run-{run}.webm")
        video = await asyncio.to_thread(watch, path)
        expect(video.frames > 0 and video.seconds > 0, f"it has {video.frames} frames in {video.seconds:g} s")
        expect(video.colours > 1, "its last frame has one colour only")
        return (
            f"{path.name}, WebM {video.width}x{video.height}, {video.frames} frames, {video.seconds:.1f} s, "
            f"{video.colours} grey values in the last frame"
        )

    async def _save(self, artifact: Artifact, name: str) -> Path:
        path = await artifact.save(self._scene.output_dir / name)
        sha256 = await asyncio.to_thread(sha256_of, path)
        expect(sha256 == artifact.sha256, f"the sum of {name} is not the store's")
        return path

    async def _close(self) -> str:
        self._browsers = await asyncio.to_thread(browsers)
        await self.session.close()
        expect(self.session.state is SessionState.CLOSED, f"it is {self.session.state}")
        reason = self.session.close_reason
        expect(reason is CloseReason.USER_REQUESTED, f"the reason is {reason}")
        return f"{self.session.state}, {reason}"

    async def _third_attach(self) -> str:
        try:
            await self._scene.fleet.attach(self.session.id)
        except SessionEnded as refusal:
            expect(refusal.close_reason is CloseReason.USER_REQUESTED, f"the reason is {refusal.close_reason}")
            said = refusal.close_reason
        else:
            raise NotSeen("the client attached")
        headers = {"x-api-key": self._scene.stack.api_key}
        async with httpx.AsyncClient(trust_env=False, headers=headers) as http:
            answer = await http.get(f"{self.session.cdp_url}/json/version")
        expect(answer.is_client_error, f"the edge answers {answer.status_code}")
        return f"{said} for the client, HTTP {answer.status_code} for a bare CDP client"

    async def _no_browser(self) -> str:
        expect(self.session.state is SessionState.CLOSED, "the session was not closed")
        seconds = await expect_one_ended(self._browsers, within=_BROWSER_END_TIMEOUT)
        return f"gone {seconds:.1f} s later; {len(browsers())} stand ready for others"
