"""A browser as processes and folders of a user: its start, its health, its end, and nothing left of it."""
