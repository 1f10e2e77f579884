"""Loopback ports that are free, below the range that the kernel gives to outgoing connections.

A port from that range could be taken by somebody's connection while its server restarts.
"""

import errno
import random
import socket

LOOPBACK = "127.0.0.1"
_LOWEST, _HIGHEST = 12_000, 21_999
# SeaweedFS listens 10,000 above each of its ports too.
PAIR_DISTANCE = 10_000
_MOST_TRIES = 1000


class PortTaken(OSError):
    """Another program listens on a port that was asked for by number."""


def is_free(port: int) -> bool:
    """Tell whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError as error:
            if error.errno in {errno.EADDRINUSE, errno.EACCES}:
                return False
            raise
    return True


class PortBook:
    """Hands out ports, each once. A port that was used before is given again while it is free."""

    def __init__(self, previous: dict[str, int] | None = None) -> None:
        self._previous = previous or {}
        self.given: dict[str, int] = {}
        self._paired: set[int] = set()

    @property
    def occupied(self) -> list[int]:
        """Every port that a server of the stack may listen on, the second ones of pairs included."""
        return sorted({*self.given.values(), *(port + PAIR_DISTANCE for port in self._paired)})

    def fixed_or_free(self, name: str, wanted: int) -> int:
        """Return `wanted`, or any free port when it is 0. Raises PortTaken."""
        if not wanted:
            return self.free(name)
        if not is_free(wanted):
            raise PortTaken(f"port {wanted} on {LOOPBACK}, wanted for {name}, is taken by another program")
        self.given[name] = wanted
        return wanted

    def free(self, name: str, *, paired: bool = False) -> int:
        """Return a free port; with `paired`, the one 10,000 above is free as well."""
        before = self._previous.get(name)
        if before is not None and self._usable(before, paired=paired):
            return self._give(name, before, paired=paired)
        for _ in range(_MOST_TRIES):
            port = random.randint(_LOWEST, _HIGHEST)  # noqa: S311  # spreads, hides nothing
            if self._usable(port, paired=paired):
                return self._give(name, port, paired=paired)
        raise PortTaken(f"no free port between {_LOWEST} and {_HIGHEST}")

    def _give(self, name: str, port: int, *, paired: bool) -> int:
        self.given[name] = port
        if paired:
            self._paired.add(port)
        return port

    def _usable(self, port: int, *, paired: bool) -> bool:
        if port in self.given.values():
            return False
        return is_free(port) and (not paired or is_free(port + PAIR_DISTANCE))
