"""Clients from npm, installed as their lock file says and run as they are."""

import asyncio
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "clients_js"
_STAMP = FOLDER / "node_modules" / ".installed"
_INSTALL = ("npm", "ci", "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund")


def install() -> None:
    """Install what the lock file names, once. Blocks.

    Installs Node itself where that is allowed, and fails with the command to run where it is not.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        _install_node()
    wanted = (FOLDER / "package-lock.json").read_text()
    if _STAMP.exists() and _STAMP.read_text() == wanted:
        return
    done = subprocess.run(_INSTALL, cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, f"`{' '.join(_INSTALL)}` in {FOLDER} failed:\n{done.stderr}"
    _STAMP.write_text(wanted)


def _install_node() -> None:
    command = ("apt-get", "install", "-y", "--no-install-recommends", "nodejs", "npm")
    assert os.geteuid() == 0, f"node and npm are missing. On Debian: sudo {' '.join(command)}"
    assert shutil.which("apt-get") is not None, "node and npm are missing; these tests need both"
    for step in (("apt-get", "-qq", "update"), command):
        done = subprocess.run(step, capture_output=True, text=True, timeout=600, check=False)
        assert done.returncode == 0, f"`{' '.join(step)}` failed:\n{done.stderr}"


async def run_client(script: str, *arguments: str) -> dict[str, Any]:  # what a script saw has any shape
    """Run a script to its end and return what it printed. Fails the test when it fails."""
    await asyncio.to_thread(install)
    process = await asyncio.create_subprocess_exec(
        "node", script, *arguments, cwd=FOLDER, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(60):
            out, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen
