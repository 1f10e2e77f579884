"""A user number of its own for each browser, where the node is root.

Numbers need no entry in the password file. Nodes on one machine share the numbers in blocks: a node owns the block
whose lock it holds, and with it every process of these users. A block of a node that has died is free at once, as
the kernel drops its lock; whoever takes it first ends what still runs there.
"""

import contextlib
import fcntl
import logging
import os
import stat
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

from browser_node.adapters.chromium.processes.processes import end_processes

log = logging.getLogger(__name__)

_FIRST_USER = 210_000
_BLOCK = 20_000
_BLOCKS = 64
_ENDING = timedelta(seconds=10)


class Accounts:
    """Hands out places for browsers: a small number that names folders and, as root, a user."""

    def __init__(self, first_user: int | None) -> None:
        self._first_user = first_user
        self._taken: set[int] = set()
        self._last = -1

    def take(self) -> int:
        """Return a place that is free; one that was given back rests as long as possible."""
        for step in range(1, _BLOCK + 1):
            place = (self._last + step) % _BLOCK
            if place not in self._taken:
                self._taken.add(place)
                self._last = place
                return place
        raise RuntimeError("every place is taken")

    def give_back(self, place: int) -> None:
        self._taken.discard(place)

    @property
    def taken_count(self) -> int:
        """How many places are not free."""
        return len(self._taken)

    def user_of(self, place: int) -> int | None:
        """Return the user of a place; None when the node is not root and its browsers run as itself."""
        return None if self._first_user is None else self._first_user + place


@contextlib.contextmanager
def claimed_accounts() -> Iterator[Accounts]:
    """Own a block of users within the block, if root. Blocks for a moment; raises OSError."""
    if os.geteuid() != 0:
        yield Accounts(None)
        return
    folder = _locks_folder()
    own_folder(folder, 0o700)
    for number in range(_BLOCKS):
        descriptor = os.open(folder / str(number), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            first = _FIRST_USER + number * _BLOCK
            _end_users(range(first, first + _BLOCK))
            yield Accounts(first)
            return
        finally:
            os.close(descriptor)
    raise OSError("every block of users is taken: too many nodes on this machine")


def _locks_folder() -> Path:
    """The same for every node of the machine, whatever its environment says of temporary files."""
    run = Path("/run")
    return (run if os.access(run, os.W_OK) else Path("/tmp")) / "browserfleet-users"  # noqa: S108  # owner is checked


def _end_users(users: range) -> None:
    if not end_processes(lambda info: info.user in users, within=_ENDING):
        log.warning("processes of an earlier node's browsers do not end")


def own_folder(folder: Path, mode: int) -> None:
    """Make a folder that is ours. Raises OSError when somebody else made it first: names in /tmp are no secret."""
    with contextlib.suppress(FileExistsError):
        folder.mkdir(parents=True, mode=mode)
    facts = folder.lstat()
    if not stat.S_ISDIR(facts.st_mode) or facts.st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    folder.chmod(mode)
