"""As whom Postgres runs: it refuses to run as root.

Root first tries a user namespace, in which files stay root's own; where the machine forbids those (most containers),
it hands the program and its data to `nobody`.
"""

import hashlib
import os
import pwd
import shutil
import stat
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from local_stack.processes import User

_NAMESPACE = ("unshare", "--user", "--map-user=65534", "--map-group=65534")
_LAST_RESORT = Path("/var/tmp")  # noqa: S108  # the folders made there have names of their own and belong to root


class NoIdentity(OSError):
    """Neither way to run without root's rights works here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """How to start a program without root's rights: a prefix of its command, or another user."""

    prefix: tuple[str, ...] = ()
    user: User | None = None


def postgres_identity() -> Identity:
    """Return the way that works on this machine. Raises NoIdentity."""
    if os.geteuid() != 0:
        return Identity()
    if _namespaces_work():
        return Identity(prefix=_NAMESPACE)
    return nobody()


def nobody() -> Identity:
    """Return the identity of the system's `nobody`. Raises NoIdentity."""
    try:
        account = pwd.getpwnam("nobody")
    except KeyError as error:
        raise NoIdentity(
            "Postgres refuses to run as root, and neither way around works: user namespaces are forbidden"
            " (unshare --user fails), and there is no user `nobody`. Start as an ordinary user."
        ) from error
    return Identity(user=User(user_id=account.pw_uid, group_id=account.pw_gid))


def reachable(folder: Path, identity: Identity) -> Path:
    """Return a folder like `folder` that the identity may own: itself, or one elsewhere that it becomes a link to."""
    if identity.user is None or all(_others_may_enter(parent) for parent in folder.parents):
        return folder
    name = hashlib.sha256(str(folder.absolute()).encode()).hexdigest()[:16]
    elsewhere = _LAST_RESORT / f"browserfleet-{name}"
    elsewhere.mkdir(mode=0o711, exist_ok=True)
    if elsewhere.lstat().st_uid != 0 or not stat.S_ISDIR(elsewhere.lstat().st_mode):
        raise NoIdentity(f"{elsewhere} is in the way: it does not belong to root")
    return elsewhere / folder.name


def reachable_program(folder: Path, siblings: tuple[Path, ...], identity: Identity, beside: Path) -> Path:
    """Return a copy of a program's folder beside `beside`, with its siblings, if the identity cannot enter it."""
    if identity.user is None or all(_others_may_enter(parent) for parent in (folder, *folder.parents)):
        return folder
    for source in (folder, *siblings):
        copy = beside / source.name
        if not copy.exists():
            shutil.copytree(source, copy.with_suffix(".new"), dirs_exist_ok=True)
            copy.with_suffix(".new").replace(copy)
    return beside / folder.name


def _others_may_enter(folder: Path) -> bool:
    return bool(folder.stat().st_mode & stat.S_IXOTH)


@cache
def _namespaces_work() -> bool:
    if shutil.which(_NAMESPACE[0]) is None:
        return False
    return subprocess.run([*_NAMESPACE, "true"], capture_output=True, timeout=10, check=False).returncode == 0
