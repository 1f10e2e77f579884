"""A browser as a process tree: its start, its end, and nothing left of it."""

import asyncio
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from browser_node.adapters.chromium.cdp.pipe import PipeEnds
from browser_node.adapters.chromium.confinement.confinement import Enclosure
from browser_node.adapters.chromium.processes.adoption import collect_zombies
from browser_node.adapters.chromium.processes.folders import BrowserFolders, belongs_to_session, end_session
from browser_node.adapters.chromium.processes.processes import exited

# Changes the user behind exec, not behind fork: what gRPC runs in a forked child of a process that has channels ends
# that child now and then. Without a change of user Python starts children by vfork, which runs nothing. Programs that
# would give a browser back more rights than it has do not.
_AS_USER = ("setpriv", "--reuid={user}", "--regid={user}", "--clear-groups", "--no-new-privs", "--")
# Puts the pipe's ends where Chrome looks for them.
_PIPES = "exec 3<&{reads} 4>&{writes} {reads}<&- {writes}>&-"
_LOG_TAIL_BYTES = 1500


@dataclass(frozen=True, slots=True)
class ChromeProcess:
    """The main process of a browser, leader of a session and group of its own."""

    pid: int
    user: int | None
    enclosure: Enclosure

    @classmethod
    def spawn(
        cls, command: list[str], folders: BrowserFolders, user: int | None, ends: PipeEnds, enclosure: Enclosure
    ) -> "ChromeProcess":
        """Start it in its enclosure and close the child's ends of the pipe.

        Blocks for milliseconds. Raises OSError.
        """
        program = Path(command[0])
        if user is not None:
            command = [*(part.format(user=user) for part in _AS_USER), *command]
        pipes = _PIPES.format(reads=ends.child_reads, writes=ends.child_writes)
        try:
            with folders.log.open("wb") as output:
                child = subprocess.Popen(
                    enclosure.command(folders, program, pipes, command),
                    pass_fds=(ends.child_reads, ends.child_writes),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd=folders.home,
                    env=_environment(folders),
                    start_new_session=True,
                )
        finally:
            ends.close_child_ends()
        # The node collects its children itself; Popen would complain about one that it did not.
        child.returncode = 0
        return cls(child.pid, user, enclosure)

    async def exited(self) -> int | None:
        """Wait until the main process has ended; return its code, or what `exited` could not learn as None.

        The number of a signal is negative. To be awaited by one task only.
        """
        return await exited(self.pid)

    async def end(self) -> bool:
        """End every process of the tree now. False when some would not."""
        return await asyncio.to_thread(self._end)

    async def collect(self) -> None:
        """Collect what has ended of the tree, when the main process has been: a zombie keeps the group."""
        await asyncio.to_thread(collect_zombies, lambda info: belongs_to_session(info, self.pid, self.user))

    def _end(self) -> bool:
        group = self.enclosure.group
        in_group = group is None or group.end()
        # What is in no group, and a second look at what is.
        return end_session(self.pid, self.user) and in_group


def log_tail(path: Path) -> str:
    """Return the end of what a browser wrote to its log, for the node's log."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - _LOG_TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def _environment(folders: BrowserFolders) -> dict[str, str]:
    """Nothing of the node's environment, which holds secrets, but what finds programs and the time zone."""
    inherited = {name: os.environ[name] for name in ("PATH", "TZ", "FONTCONFIG_PATH") if name in os.environ}
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        **inherited,
        "LANG": "C.UTF-8",
        "HOME": str(folders.home),
        "TMPDIR": str(folders.temporary),
        "XDG_CONFIG_HOME": str(folders.home / "config"),
        "XDG_CACHE_HOME": str(folders.home / "cache"),
        "XDG_RUNTIME_DIR": str(folders.temporary),
    }
