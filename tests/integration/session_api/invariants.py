"""What holds of the tables after every commit, whoever wrote: read in one statement, so from one snapshot."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg

from fleetkit.lifecycle import background
from fleetkit.postgres import Pool

_FINAL = "('CLOSED', 'FAILED')"
_HOLDING = "('STARTING', 'RUNNING', 'CLOSING')"
# By sentence: whose rows break it.
_BROKEN = {
    "a node's used slots are the unfinished sessions that its present registration holds": (
        "SELECT id FROM fleet.node WHERE slots_used <> (SELECT count(*) FROM fleet.session"
        f" WHERE node_id = node.id AND registration_id = node.registration_id AND state IN {_HOLDING})"
    ),
    "no node gives away more slots than it has": "SELECT id FROM fleet.node WHERE slots_used NOT BETWEEN 0 AND slots",
    "a queued session holds nothing and was never up": (
        "SELECT id FROM fleet.session WHERE state = 'QUEUED' AND (node_id IS NOT NULL OR epoch <> 0"
        " OR start_time IS NOT NULL OR close_reason IS NOT NULL OR queue_expire_time IS NULL)"
    ),
    "a running session has a node, and a deadline that is its start and its timeout": (
        "SELECT id FROM fleet.session WHERE state = 'RUNNING' AND (node_id IS NULL OR epoch = 0"
        " OR close_reason IS NOT NULL OR expire_time IS DISTINCT FROM start_time + timeout)"
    ),
    "a session that has begun to end says why, and no other does": (
        "SELECT id FROM fleet.session WHERE (close_reason IS NOT NULL)"
        f" <> (state = 'CLOSING' OR state IN {_FINAL}) OR (close_message <> '') <> (close_reason IS NOT NULL)"
    ),
    "a session that has ended is held by nobody, and is FAILED when its reason is a fault": (
        f"SELECT id FROM fleet.session WHERE state IN {_FINAL} AND (occupancy IS NOT NULL OR control IS NOT NULL"
        " OR client_count <> 0 OR viewer_count <> 0 OR (state = 'CLOSED') <>"
        " (close_reason IN ('USER_REQUESTED', 'TIMED_OUT', 'IDLE', 'NODE_DRAINED')))"
    ),
    "time runs forward": (
        "SELECT id FROM fleet.session WHERE start_time < create_time OR end_time < start_time"
        " OR end_time < create_time OR state_time < create_time"
    ),
    "a session that has not ended falls due some time, its deadline included, and one that has ended does not": (
        "SELECT id FROM fleet.session WHERE (due_time IS NULL) <> (end_time IS NOT NULL)"
        " OR state = 'RUNNING' AND due_time > expire_time OR state = 'QUEUED' AND due_time > queue_expire_time"
    ),
    "what was used is written once, from the start to the end, for each session that was up and has ended": (
        "SELECT COALESCE(usage.session_id, session.id) FROM fleet.usage FULL JOIN (SELECT * FROM fleet.session"
        f" WHERE state IN {_FINAL} AND start_time IS NOT NULL) AS session"
        " ON usage.session_id = session.id AND usage.epoch = session.epoch"
        " WHERE usage.session_id IS NULL OR session.id IS NULL OR usage.organization_id <> session.organization_id"
        " OR usage.end_time - usage.start_time <> session.end_time - session.start_time"
    ),
    "one idempotency key made one session": (
        "SELECT min(id) FROM fleet.session WHERE request_id <> ''"
        " GROUP BY organization_id, request_id HAVING count(*) > 1"
    ),
    "no organization has more sessions open than it may": (
        "SELECT id FROM fleet.organization WHERE (SELECT count(*) FROM fleet.session"
        f" WHERE organization_id = organization.id AND state IN {_HOLDING}) > max_open_sessions"
    ),
}
_STATEMENT = " UNION ALL ".join(
    f"(SELECT '{sentence.replace(chr(39), 2 * chr(39))}' AS sentence, broken.* FROM ({rows}) AS broken (id))"
    for sentence, rows in _BROKEN.items()
)


async def violations(pool: Pool) -> list[str]:
    """Return what does not hold now."""
    rows: list[asyncpg.Record] = await pool.fetch(_STATEMENT)
    return [f"{row['id']}: {row['sentence']}" for row in rows]


async def assert_held(pool: Pool) -> None:
    found = await violations(pool)
    assert not found, "\n".join(found)


@contextlib.asynccontextmanager
async def held_throughout(pool: Pool) -> AsyncIterator[None]:
    """Look all the time while the block runs; fail it when something did not hold, then or at the end."""

    async def look() -> None:
        while True:
            await assert_held(pool)
            await asyncio.sleep(0.02)

    async with background(look()):
        yield
        await assert_held(pool)
