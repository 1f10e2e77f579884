"""The folders of one browser, and what an earlier life of the node left of such.

Paths are short: Chrome puts a socket below its TMPDIR, and a socket's path must fit 108 bytes.
"""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path

from browser_node.adapters.chromium.processes.accounts import own_folder
from browser_node.adapters.chromium.processes.processes import ProcessInfo, end_processes, read_process

log = logging.getLogger(__name__)

_ENDING = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class BrowserFolders:
    """Folders that live as long as one browser."""

    root: Path

    @property
    def profile(self) -> Path:
        return self.root / "p"

    @property
    def temporary(self) -> Path:
        return self.root / "t"

    @property
    def home(self) -> Path:
        return self.root / "h"

    @property
    def downloads(self) -> Path:
        return self.root / "d"

    @property
    def uploads(self) -> Path:
        return self.root / "u"

    @property
    def log(self) -> Path:
        return self.root / "chrome.log"


@dataclass(frozen=True, slots=True)
class _Record:
    """Who runs in a folder, to find it again after the node has died."""

    pid: int
    start_ticks: int
    boot_id: str


def default_scratch(state_dir: Path) -> Path:
    """Return the place for browsers' folders of the node that keeps its state in `state_dir`.

    Not below it: the state may lie where other users have no way, and a browser is another user.
    """
    name = hashlib.sha256(str(state_dir.resolve()).encode()).hexdigest()[:8]
    return Path(tempfile.gettempdir()) / f"bf-{name}"


class Scratch:
    """Makes and wipes browsers' folders. Its methods block."""

    def __init__(self, root: Path) -> None:
        self._root = root

    @contextlib.contextmanager
    def prepared(self) -> Iterator[None]:
        """Have the place within the block: `prepare`, and at the end no folder that is empty. Blocks."""
        self.prepare()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                self._root.rmdir()

    def prepare(self) -> None:
        """Make the place, and end and wipe what an earlier life of this node left in it. Raises OSError."""
        own_folder(self._root, 0o711)
        for record in self._root.glob("*.json"):
            self._end_recorded(record)
        for entry in self._root.iterdir():
            _remove(entry)

    def make(self, place: int, user: int | None) -> BrowserFolders:
        """Make the folders of a browser; only its user, and root, can enter them."""
        folders = BrowserFolders(self._root / f"s{place}")
        folders.root.mkdir(mode=0o700)
        for folder in (folders.profile, folders.temporary, folders.home, folders.downloads, folders.uploads):
            folder.mkdir(mode=0o700)
            if user is not None:
                os.chown(folder, user, user)
        if user is not None:
            os.chown(folders.root, user, user)
        return folders

    def record(self, folders: BrowserFolders, pid: int) -> None:
        """Remember which process lives in the folders."""
        info = read_process(pid)
        if info is not None:
            record = _Record(pid, info.start_ticks, _boot_id())
            folders.root.with_suffix(".json").write_text(json.dumps(asdict(record)))

    def wipe(self, folders: BrowserFolders) -> None:
        """Remove the folders and their record."""
        _remove(folders.root)
        folders.root.with_suffix(".json").unlink(missing_ok=True)

    def _end_recorded(self, path: Path) -> None:
        try:
            record = _Record(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return
        if record.boot_id != _boot_id() or record.pid <= 1:
            return
        leader = read_process(record.pid)
        if leader is not None and leader.start_ticks != record.start_ticks:
            # The number went to another process. It could not while one of the old session was alive.
            return
        if not end_processes(lambda info: info.session == record.pid, within=_ENDING):
            log.warning("a browser of an earlier life does not end", extra={"pid": record.pid})


def disk_usage(folder: Path) -> int:
    """Return the bytes on disk below a folder, whatever comes and goes meanwhile. Blocks."""
    total = 0
    pending = [str(folder)]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    else:
                        with contextlib.suppress(OSError):
                            # Sparse files count what they hold.
                            total += entry.stat(follow_symlinks=False).st_blocks * 512
        except OSError:
            continue
    return total


def end_session(pid: int, user: int | None) -> bool:
    """End every process of a browser. Blocks."""
    return end_processes(lambda info: belongs_to_session(info, pid, user), within=_ENDING)


def belongs_to_session(info: ProcessInfo, pid: int, user: int | None) -> bool:
    """Whether a process is one of a browser: of its user where it has one, or of its session."""
    return info.session == pid or (user is not None and info.user == user)


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        if path.exists():
            log.warning("a folder of an ended browser cannot be removed: %s", path)
    else:
        path.unlink(missing_ok=True)
