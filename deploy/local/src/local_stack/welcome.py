"""What a person reads when the stack is up."""

import sys
from pathlib import Path

from local_stack.stack import LocalStack

_SNIPPET = """\
from browserfleet.client import Fleet
async with Fleet.from_env() as fleet:
    async with fleet.session() as session:
        browser = await session.playwright()
        page = browser.contexts[0].pages[0]
        await page.goto("data:text/html,<title>Hello from the fleet</title>"); print(session.id, await page.title())
"""


def welcome(stack: LocalStack) -> str:
    """Return the addresses, the key, and a snippet for the Python prompt that awaits."""
    exports = " ".join(f"{name}={value}" for name, value in stack.client_environment.items())
    return f"""
The fleet is up: {len(stack.plan.node_names)} nodes, {stack.options.slots} sessions each. Ctrl-C stops everything.

  URL      {stack.url}
  gRPC     {stack.grpc_address}
  API key  {stack.api_key}
  logs     {stack.plan.state.logs}

Try it from another terminal (the last empty line ends the block):

export {exports}
{_python()} -m asyncio

{_SNIPPET}
"""


def _python() -> str:
    path = Path(sys.prefix) / "bin" / "python"
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
