"""What one session may take of its node."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """Upper bounds of one session; `pids` counts processes and threads, `cpus` whole processor cores."""

    memory_bytes: int = 2 << 30
    pids: int = 512
    cpus: float = 2.0
    disk_bytes: int = 7 << 30
