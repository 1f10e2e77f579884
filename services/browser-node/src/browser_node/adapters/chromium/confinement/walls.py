"""What a browser sees of the machine, where the node is root: a mount namespace of its own.

A browser's own folder keeps its path and is all that can be written. The rest of the system is read-only; temporary
folders are empty and private; /proc shows the browser's processes alone; the folders of other browsers, the node's
state and what holds secrets are not there. Chrome's own sandbox goes on inside.
"""

import logging
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

_UNSHARE = ("unshare", "--mount", "--propagation", "private", "--")
_TEMPORARY = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108  # to be covered, not to be used
_SECRETS = (Path("/run/secrets"), Path("/var/run/secrets"))
# Works from the browser's folder, so that it can be put back where it was when what lay above it is covered. Paths
# come as arguments, in groups that end with an empty one.
_SCRIPT = """
own=$1; shift
cd "$own"
mount -t proc -o hidepid=2,nosuid,nodev,noexec proc /proc
while [ -n "$1" ]; do mount -t overlay -o "ro,lowerdir=$2:$1" overlay "$1"; shift 2; done; shift
while [ -n "$1" ]; do mount --bind /dev/null "$1"; shift; done; shift
while [ -n "$1" ]; do mount -t tmpfs -o size=64m,mode=1777,nosuid,nodev tmpfs "$1"; shift; done; shift
while [ -n "$1" ]; do
  if [ -d "$1" ]; then mount -t tmpfs -o size=1m,mode=711,nosuid,nodev,noexec tmpfs "$1"; fi
  shift
done; shift
mkdir -p "$own"
mount --no-canonicalize --bind . "$own"
cd "$own"
mount -o remount,bind,ro /
"""
_TRIAL_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Walls:
    """How the namespaces of browsers are made.

    `layers` are folders to lay over folders of the system, for browsers' eyes; `hidden` are folders, `secrets` files.
    """

    layers: Mapping[Path, Path]
    hidden: Sequence[Path]
    secrets: Sequence[Path]

    @property
    def prefix(self) -> Sequence[str]:
        """What the shell that raises the walls is started with."""
        return _UNSHARE

    @property
    def script(self) -> str:
        """What that shell does; `arguments` are its first ones, and it shifts them away."""
        return _SCRIPT

    def arguments(self, own: Path, program: Path) -> list[str]:
        """Return the script's arguments for the browser that lives in the folder `own`."""
        layers = [str(path) for pair in self.layers.items() for path in pair]
        secrets = [str(path) for path in self.secrets if path.is_file()]
        # A program that an operator keeps in one of these has to be found there.
        temporary = [str(path) for path in _TEMPORARY if path.is_dir() and not program.is_relative_to(path)]
        hidden = [str(path) for path in (*self.hidden, *_SECRETS, own.parent) if not program.is_relative_to(path)]
        return [str(own), *layers, "", *secrets, "", *temporary, "", *hidden, ""]

    def fault(self, own: Path) -> str:
        """Return why the walls do not stand on this machine, empty when they do. Blocks."""
        command = [*_UNSHARE, "bash", "-e", "-c", _SCRIPT, "bash", *self.arguments(own, Path("/bin/bash"))]
        try:
            trial = subprocess.run(command, capture_output=True, text=True, timeout=_TRIAL_SECONDS, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return str(error)
        return trial.stderr.strip() or f"exit code {trial.returncode}" if trial.returncode else ""


def build_walls(
    *, policies: Mapping[Path, Path], hidden: Sequence[Path], secrets: Sequence[Path], trial_folder: Path
) -> Walls | None:
    """Return walls that stand on this machine, or None, with the reason in the log. Blocks."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        log.warning("walls: none, which takes root and unshare(1): browsers see what the node's user sees")
        return None
    walls = Walls(layers=policies, hidden=hidden, secrets=secrets)
    if fault := walls.fault(trial_folder):
        log.warning("walls: none, the machine does not allow it (%s): browsers see what their user may see", fault)
        return None
    log.info("walls: read-only system, private temporary folders, own processes only")
    return walls
