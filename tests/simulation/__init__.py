"""session-api's use cases and the reaper among modelled nodes, bus and callers, on one virtual clock and one seed.

`python -m tests.simulation --seed N --trace` replays a schedule.
"""
