"""IDs that sort by the time of their making."""

import re
import time

from fleetkit.ids import RandomIds


def test_an_id_is_a_prefix_and_a_lower_case_ulid() -> None:
    assert re.fullmatch(r"pbs_[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}", RandomIds().new("pbs"))


def test_no_two_ids_are_the_same() -> None:
    ids = RandomIds()
    assert len({ids.new("pbs") for _ in range(10_000)}) == 10_000


def test_ids_sort_by_time() -> None:
    ids, made = RandomIds(), []
    for _ in range(5):
        made.append(ids.new("pbs"))
        instant = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == instant:
            pass
    assert made == sorted(made)
