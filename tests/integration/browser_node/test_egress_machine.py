"""What the forwarder asks the machine: whose a connection is, and what a name means."""

import asyncio
import contextlib
import os
import resource
import socket
import subprocess
from collections.abc import Sequence
from ipaddress import ip_address

import pytest

from browser_node.adapters.egress.limits import raise_descriptor_limit
from browser_node.adapters.egress.peers import PeerUsers
from browser_node.adapters.egress.resolver import QueuedResolver, SystemResolver
from browser_node.domain.hosts import Address

_CONNECT = "exec 3<>/dev/tcp/127.0.0.1/$0; read"


def test_the_user_of_a_connection_is_known_while_it_lasts() -> None:
    with contextlib.closing(PeerUsers()) as peers, socket.create_server(("127.0.0.1", 0)) as server:
        # As root, a process of another user.
        user = 3_229_999 if os.geteuid() == 0 else os.geteuid()
        address = server.getsockname()
        child = subprocess.Popen(["/bin/bash", "-c", _CONNECT, str(address[1])], stdin=subprocess.PIPE, user=user)
        connection, peer = server.accept()

        assert peers.user_of(peer=peer, own=address) == user
        assert peers.user_of(peer=address, own=peer) == os.geteuid()
        child.communicate()
        connection.close()
        assert peers.user_of(peer=peer, own=address) is None
        assert peers.user_of(peer=("127.0.0.1", 1), own=address) is None


def test_the_limit_of_descriptors_is_raised_as_far_as_may_be() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        raise_descriptor_limit()

        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 512
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize("name", ["localhost", "app.localhost"])
async def test_localhost_is_this_machine(name: str) -> None:
    resolver = SystemResolver()

    assert list(await resolver.resolve(name)) == [ip_address("127.0.0.1"), ip_address("::1")]
    resolver.close()


async def test_a_browser_that_asks_for_many_slow_names_holds_up_only_itself() -> None:
    class SlowNames:
        def __init__(self) -> None:
            self.asked = 0
            self.answer = asyncio.Event()

        async def resolve(self, name: str) -> Sequence[Address]:
            self.asked += 1
            if name == "slow.example":
                await self.answer.wait()
            return [ip_address("127.0.0.1")]

    names = SlowNames()
    hostile, other = QueuedResolver(names), QueuedResolver(names)
    lookups = [asyncio.create_task(hostile.resolve("slow.example")) for _ in range(500)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    begun = names.asked

    assert 0 < begun < 100
    assert await other.resolve("quick.example")
    # Giving up frees no turn: the threads are still busy.
    for lookup in lookups:
        lookup.cancel()
    await asyncio.wait(lookups)
    assert names.asked == begun + 1
    names.answer.set()
    assert await hostile.resolve("quick.example")


async def test_what_the_system_answers_is_read() -> None:
    resolver = SystemResolver()

    # An address is its own name: nobody is asked.
    assert list(await resolver.resolve("127.0.0.3")) == [ip_address("127.0.0.3")]
    resolver.close()
