"""What things are called: IDs that the fleet makes, and names of organizations, which operators choose."""

from typing import NewType

SessionId = NewType("SessionId", str)
NodeId = NewType("NodeId", str)
OrganizationId = NewType("OrganizationId", str)
KeyId = NewType("KeyId", str)
