"""Allocates browser sessions across the fleet."""
