"""The `fleet` schema: each repository keeps its SQL beside its methods."""
