"""How much one browser may ask of the forwarder."""

import resource
from dataclasses import dataclass
from datetime import timedelta

# Two for each connection, and enough that one browser at its limit leaves the others theirs.
_WANTED_DESCRIPTORS = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLimits:
    """Limits of one port.

    `header_timeout`: from the first byte of a request to the end of its header. `idle_timeout`: how long a connection
    may wait for its next request. A request that was read, and a tunnel, may take as long as they like.
    """

    connections: int = 512
    header_timeout: timedelta = timedelta(seconds=10)
    idle_timeout: timedelta = timedelta(seconds=90)


def raise_descriptor_limit() -> None:
    """Let this process, and what it starts, have as many descriptors as the machine grants, within reason."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _WANTED_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _WANTED_DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
