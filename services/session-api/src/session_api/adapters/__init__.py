"""Postgres, NATS and the other services, behind the ports."""
