"""The control plane under load, with nodes that start no browser: `python -m tests.benchmarks.control`."""
