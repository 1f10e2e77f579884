"""`python -m local_stack up`: the whole fleet on this machine until Ctrl-C."""

import asyncio
import signal
import sys

from local_stack.console import following, log_to
from local_stack.managed import StartFailed
from local_stack.options import StackOptions, parse
from local_stack.stack import LocalStack
from local_stack.state import StateTaken
from local_stack.welcome import welcome


async def up(options: StackOptions) -> None:
    """Run the stack until a signal; a second signal kills what has not stopped yet."""
    stack = LocalStack(options)
    stop = asyncio.Event()
    staying = asyncio.create_task(_stay(stack))

    def on_signal() -> None:
        if stop.is_set():
            stack.kill()
        else:
            stop.set()
            staying.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    try:
        await staying
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


async def _stay(stack: LocalStack) -> None:
    async with following(stack.options.state_dir / "logs", sys.stderr), stack:
        print(welcome(stack), flush=True)
        await asyncio.Event().wait()


def main() -> int:
    options = parse()
    log_to(sys.stderr)
    try:
        asyncio.run(up(options))
    except (StartFailed, StateTaken, OSError) as error:
        print(f"The stack did not start: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
