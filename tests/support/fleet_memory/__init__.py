"""session-api's Database port in memory."""

from tests.support.fleet_memory.database import MemoryDatabase, MemoryTransaction
from tests.support.fleet_memory.tables import News

__all__ = ["MemoryDatabase", "MemoryTransaction", "News"]
