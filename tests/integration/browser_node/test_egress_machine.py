"""What the forwarder asks the machine: whose a connection is, and what a name means."""

import contextlib
import os
import socket
import subprocess
from ipaddress import ip_address

import pytest

from browser_node.adapters.egress.peers import PeerUsers
from browser_node.adapters.egress.resolver import SystemResolver

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


@pytest.mark.parametrize("name", ["localhost", "app.localhost"])
async def test_localhost_is_this_machine(name: str) -> None:
    resolver = SystemResolver()

    assert list(await resolver.resolve(name)) == [ip_address("127.0.0.1"), ip_address("::1")]
    resolver.close()


async def test_what_the_system_answers_is_read() -> None:
    resolver = SystemResolver()

    # An address is its own name: nobody is asked.
    assert list(await resolver.resolve("127.0.0.3")) == [ip_address("127.0.0.3")]
    resolver.close()
