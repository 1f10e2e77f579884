"""A node's browsers in a process of their own, so that its CPU time is the node's alone.

Prints one line of JSON; a person has control. End-of-file on its input ends it.
"""

import asyncio
import json
import sys

import uvloop

from tests.support.real_browsers import hosting_real_browsers


async def main() -> None:
    async with hosting_real_browsers() as host:
        browser = await host.start()
        browser.set_control(1, held=True)
        addresses = {"attach": host.url(), "view": host.live_url(), "control": host.live_url(control=1)}
        print(json.dumps({**addresses, "browser_pid": browser.pid}), flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    uvloop.run(main())
