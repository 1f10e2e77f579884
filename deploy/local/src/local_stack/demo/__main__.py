"""`python -m local_stack.demo`: starts the stack, does the main job on a real application, and stops everything."""

import argparse
import asyncio
import contextlib
import signal
import sys
from pathlib import Path

from local_stack.demo.checks import Checks
from local_stack.demo.scene import Scene
from local_stack.demo.story import tell
from local_stack.options import StackOptions
from local_stack.state import default_state_dir

_INTERRUPTED = 130


def _arguments() -> argparse.Namespace:
    top = default_state_dir()
    parser = argparse.ArgumentParser(prog="python -m local_stack.demo", description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=top / "demo", help="what the stack keeps")
    parser.add_argument("--output-dir", type=Path, default=top.parent / "demo-output", help="what the demo shows")
    parser.add_argument(
        "--allow-no-sandbox", action="store_true", help="let browsers run where their sandbox cannot be had"
    )
    return parser.parse_args()


async def _run(scene: Scene, checks: Checks) -> bool:
    """Tell the story; False when a signal ended it before its end."""
    telling = asyncio.create_task(tell(scene, checks))
    interrupted = asyncio.Event()

    def on_signal() -> None:
        interrupted.set()
        telling.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    with contextlib.suppress(asyncio.CancelledError):
        await telling
    return not interrupted.is_set()


def main() -> int:
    arguments = _arguments()
    output_dir: Path = arguments.output_dir.absolute()
    output_dir.mkdir(parents=True, exist_ok=True)
    summary = output_dir / "summary.json"
    # One of a run before must not pass for this one's.
    for stale in (summary, *output_dir.glob("*.webm"), *output_dir.glob("*.csv")):
        stale.unlink(missing_ok=True)
    options = StackOptions(state_dir=arguments.state_dir.absolute(), allow_no_sandbox=arguments.allow_no_sandbox)
    scene = Scene(options=options, output_dir=output_dir)
    checks = Checks()
    complete = asyncio.run(_run(scene, checks))
    checks.write(summary)
    if not complete:
        print("interrupted; everything was stopped", file=sys.stderr)
        return _INTERRUPTED
    if checks.failed:
        print(f"The logs of all processes are in {scene.logs}", file=sys.stderr)
    print(f"\n{checks.table()}", flush=True)
    return 1 if checks.failed else 0


if __name__ == "__main__":
    sys.exit(main())
