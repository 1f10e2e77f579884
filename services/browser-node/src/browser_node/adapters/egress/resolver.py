"""Names to addresses, by the machine's resolver."""

import asyncio
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import IPv4Address, IPv6Address
from typing import Protocol

from browser_node.domain.egress import address_of
from browser_node.domain.hosts import Address

# A lookup of a dead name server holds its thread for up to half a minute.
_THREADS = 64
_LOCALHOST = (IPv4Address("127.0.0.1"), IPv6Address("::1"))


class Resolver(Protocol):
    """Looks names up. Every call may answer something else."""

    async def resolve(self, name: str) -> Sequence[Address]:
        """Return the addresses of a name, best first. Raises OSError when there is none."""
        ...


class SystemResolver:
    """getaddrinfo in threads of its own: slow names do not hold up what else the node does in threads."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="resolver")

    async def resolve(self, name: str) -> Sequence[Address]:
        if name == "localhost" or name.endswith(".localhost"):
            # As browsers have it, whatever a name server says.
            return _LOCALHOST
        answers = await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, name)
        return list(dict.fromkeys(address_of(answer) for answer in answers))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(name: str) -> list[str]:
    return [str(info[4][0]) for info in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]
