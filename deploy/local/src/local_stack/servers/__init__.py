"""The real servers that the fleet stands on, from wheels: each a Program, and each a block for tests."""
