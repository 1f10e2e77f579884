"""Programs start in order, come back when they die, and stop in reverse."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from local_stack.managed import BackOff, StartFailed
from local_stack.orphans import collecting_orphans
from local_stack.processes import Command
from local_stack.supervisor import Supervisor
from tests.support.waiting import until
from tests.unit.local_stack.programs import Script, read

QUICK = BackOff(first=timedelta(milliseconds=10), most=timedelta(milliseconds=40))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_groups_start_one_after_the_other_and_stop_in_reverse(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with Supervisor(logs=tmp_path) as supervisor:
        await supervisor.start(Script(name="database", journal=journal))
        await supervisor.start(Script(name="service", journal=journal))
    assert read(journal) == ["start database", "start service", "stop service", "stop database"]


async def test_a_process_that_dies_is_replaced(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with Supervisor(logs=tmp_path, back_off=QUICK) as supervisor:
        await supervisor.start(Script(name="node", journal=journal))
        first = supervisor.process("node").pid
        supervisor.process("node").kill()
        await supervisor.process("node").wait_ready()
        assert supervisor.process("node").pid not in {None, first}
        assert supervisor.process("node").starts == 2


async def test_a_program_that_was_ready_once_is_started_again_for_ever(tmp_path: Path) -> None:
    async with Supervisor(logs=tmp_path, back_off=QUICK) as supervisor:
        await supervisor.start(Script(name="crashing", journal=tmp_path / "journal", body=""))
        await until(lambda: supervisor.process("crashing").starts > 8)


async def test_a_program_that_never_gets_ready_fails_the_start_and_shows_its_log(tmp_path: Path) -> None:
    script = Script(name="broken", journal=tmp_path / "elsewhere" / "missing")
    async with Supervisor(logs=tmp_path, back_off=QUICK) as supervisor:
        with pytest.raises(StartFailed, match=r"(?s)broken ended with exit code 1.*FileNotFoundError") as failure:
            await supervisor.start(script)
        assert str(tmp_path / "broken.log") in str(failure.value)


async def test_wrong_settings_are_not_tried_twice(tmp_path: Path) -> None:
    script = Script(name="misconfigured", journal=tmp_path / "journal", body="raise SystemExit(78)")
    unready = Unready(script)
    async with Supervisor(logs=tmp_path, back_off=QUICK) as supervisor:
        with pytest.raises(StartFailed, match="exit code 78"):
            await supervisor.start(unready)
    assert read(tmp_path / "journal") == ["start misconfigured"]


async def test_what_started_before_a_failed_start_is_stopped_too(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with Supervisor(logs=tmp_path, back_off=QUICK) as supervisor:
        await supervisor.start(Script(name="database", journal=journal))
        with pytest.raises(StartFailed):
            await supervisor.start(Script(name="broken", journal=tmp_path / "elsewhere" / "missing"))
    assert read(journal) == ["start database", "stop database"]


async def test_a_process_that_ignores_the_stop_signal_is_killed_after_its_timeout(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    stubborn = Script(
        name="stubborn", journal=journal, body="while True: signal.pause()", stop_timeout=timedelta(milliseconds=50)
    )
    async with Supervisor(logs=tmp_path) as supervisor:
        await supervisor.start(stubborn)
        pid = supervisor.process("stubborn").pid
    assert pid is not None
    assert not is_alive(pid)
    assert read(journal) == ["start stubborn"]


async def test_kill_ends_everything_at_once_while_a_stop_is_under_way(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    body = 'signal.sigwait({signal.SIGTERM}); note("asked")\nwhile True: signal.pause()'
    supervisor = Supervisor(logs=tmp_path)
    await supervisor.start(Script(name="stubborn", journal=journal, body=body, stop_timeout=timedelta(seconds=60)))
    stopping = asyncio.create_task(supervisor.stop())
    await until(lambda: "asked stubborn" in read(journal))
    supervisor.kill()
    async with asyncio.timeout(5):
        await stopping


async def test_output_of_a_command_is_returned_and_its_failure_is_told(tmp_path: Path) -> None:
    supervisor = Supervisor(logs=tmp_path)
    assert await supervisor.output_of("speak", Command(argv=(sys.executable, "-c", "print('a key')"))) == "a key\n"
    code = "import sys; print('the cause', file=sys.stderr); sys.exit(3)"
    with pytest.raises(StartFailed, match=r"(?s)fail ended with exit code 3.*the cause"):
        await supervisor.output_of("fail", Command(argv=(sys.executable, "-c", code)))


async def test_children_end_when_the_supervisor_itself_is_killed(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    code = f"""
import asyncio, pathlib
from local_stack.supervisor import Supervisor
from tests.unit.local_stack.programs import Script
async def main():
    async with Supervisor(logs=pathlib.Path({str(tmp_path)!r})) as supervisor:
        await supervisor.start(Script(name="child", journal=pathlib.Path({str(journal)!r})))
        print(supervisor.process("child").pid, flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""
    async with collecting_orphans(set):
        owner = await asyncio.create_subprocess_exec(
            sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, cwd=Path.cwd()
        )
        assert owner.stdout is not None
        child = int(await owner.stdout.readline())
        assert is_alive(child)
        owner.kill()
        await owner.wait()
        await until(lambda: not is_alive(child))


async def test_orphans_of_a_killed_process_leave_no_zombie(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    body = f"""
import os
pids = pathlib.Path({str(pids)!r})
# In its first life only: nobody would end a second one.
if not pids.exists():
    grandchild = os.fork()
    if grandchild == 0:
        os.setsid()
        signal.sigwait({{signal.SIGTERM}})
        os._exit(0)
    pids.write_text(str(grandchild))
signal.sigwait({{signal.SIGTERM}})
"""
    supervisor = Supervisor(logs=tmp_path, back_off=QUICK)
    async with collecting_orphans(supervisor.pids), supervisor:
        await supervisor.start(Script(name="node", journal=tmp_path / "journal", body=body))
        await until(lambda: pids.exists() and pids.read_text() != "")
        grandchild = int(pids.read_text())
        supervisor.process("node").kill()
        await supervisor.process("node").wait_ready()
        os.kill(grandchild, signal.SIGTERM)
        await until(lambda: not Path(f"/proc/{grandchild}").exists())


def test_the_pause_doubles_up_to_its_limit_and_starts_over_after_a_long_life() -> None:
    back_off = BackOff()
    pause: timedelta | None = None
    pauses = []
    for _ in range(7):
        pause = back_off.next_pause(previous=pause, lived=timedelta(seconds=1))
        pauses.append(pause.total_seconds())
    assert pauses == [0.2, 0.4, 0.8, 1.6, 3.2, 5, 5]
    assert back_off.next_pause(previous=pause, lived=timedelta(seconds=10)) == timedelta(seconds=0.2)


class Unready:
    """A script that never gets ready."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.name = script.name

    async def prepare(self) -> None:
        """A script needs nothing."""

    def command(self) -> Command:
        return self._script.command()

    async def ready(self) -> bool:
        return False

    async def ended(self) -> None:
        """A script leaves nothing."""
