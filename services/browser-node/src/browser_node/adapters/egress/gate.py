"""What a connection of a browser needs of the port that it came in by."""

import asyncio
from typing import Protocol

from browser_node.adapters.egress.dialer import Link
from browser_node.adapters.egress.limits import PortLimits
from browser_node.adapters.egress.tunnel import Traffic
from browser_node.domain.egress import Destination


class Member(Protocol):
    """What ends with the port."""

    def abort(self) -> None:
        """Close at once."""
        ...


class Gate(Protocol):
    """A port, as its connections see it."""

    @property
    def traffic(self) -> Traffic: ...

    @property
    def limits(self) -> PortLimits: ...

    def admits(self, transport: asyncio.Transport) -> bool:
        """Tell whether the process at the other end may use this port."""
        ...

    async def open(self, destination: Destination, *, clear: bool) -> Link:
        """Connect to the outside. Raises EgressDenied, Unreachable."""
        ...

    def add(self, member: Member) -> None:
        """Remember what is to be aborted with the port."""
        ...

    def remove(self, member: Member) -> None: ...
