"""How much one browser may ask of the forwarder."""

from dataclasses import dataclass
from datetime import timedelta


@dataclass(frozen=True, slots=True, kw_only=True)
class PortLimits:
    """Limits of one port.

    `header_timeout`: from the first byte of a request to the end of its header. `idle_timeout`: how long a connection
    may wait for its next request. A request that was read, and a tunnel, may take as long as they like.
    """

    connections: int = 1024
    header_timeout: timedelta = timedelta(seconds=10)
    idle_timeout: timedelta = timedelta(seconds=90)
