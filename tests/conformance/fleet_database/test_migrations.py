"""What the version before wrote is read, also when it goes on writing after the migration."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.resources import files
from typing import TypeAlias

import asyncpg
import pytest

from fleetkit.ids import RandomIds
from fleetkit.paging import PageRequest
from fleetkit.postgres import open_pool
from fleetkit.settings import Secret
from session_api.adapters.postgres.database import PostgresDatabase, migrate_fleet
from session_api.domain.browser import BrowserSpec, BrowserType
from session_api.domain.caller import Caller, Scope, secret_digest
from session_api.domain.capabilities import Capabilities
from session_api.domain.close_reason import CloseReason
from session_api.domain.identifiers import NodeId, SessionId
from session_api.domain.node import NodeState
from session_api.domain.organization import Limits, Organization
from session_api.domain.session import Allocation, Session, SessionState
from session_api.usecases.ports import Database
from session_api.usecases.queries import SessionQuery
from tests.conformance.fleet_database.subject import HOUR, MINUTE, listed, stored, stored_node
from tests.support.fleet_builders import FACTS, NOON, ORGANIZATION

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

_MIGRATIONS = files("session_api.adapters.postgres.migrations")
_DIGEST = secret_digest("bf_1")


@pytest.fixture
async def old(empty_database: str) -> AsyncIterator[Connection]:
    """A database as the first version made it, with an organization and a node of it."""
    connection = await asyncpg.connect(empty_database)
    await connection.execute(
        "CREATE SCHEMA fleet;"
        " CREATE TABLE fleet.migration (name text PRIMARY KEY, apply_time timestamptz NOT NULL DEFAULT now());"
        " INSERT INTO fleet.migration (name) VALUES ('0001_fleet'); SET search_path = fleet"
    )
    await connection.execute((_MIGRATIONS / "0001_fleet.sql").read_text())
    await connection.execute(
        "INSERT INTO fleet.organization (id, max_timeout) VALUES ($1, $2)", ORGANIZATION, timedelta(minutes=30)
    )
    await _old_node(connection)
    yield connection
    await connection.close()


@pytest.fixture
async def migrated(old: Connection, empty_database: str) -> AsyncIterator[Database]:
    """The present version's view of it."""
    async with open_pool(Secret(empty_database), max_size=4) as pool:
        yield PostgresDatabase(pool, RandomIds())


async def _migrate(dsn: str) -> None:
    assert await migrate_fleet(Secret(dsn)) == ["0002_control_plane", "0003_session_options"]


async def _old_node(old: Connection, *, name: str = "node-a", state: str = "ACTIVE") -> None:
    await old.execute(
        "INSERT INTO fleet.node (id, name, registration_id, state, address, attach_url, slots, slots_used, browsers,"
        " register_time, heartbeat_time) VALUES ($1, $2, 'reg_1', $3, 'a:1', 'ws://a', 2, 1,"
        """ '{"CHROME": "Chrome/150.0"}', $4, $4)""",
        f"nod_{name}",
        name,
        state,
        NOON,
    )


async def _old_key(old: Connection, digest: bytes, *, revoke_time: datetime | None = None) -> None:
    await old.execute(
        "INSERT INTO fleet.api_key (digest, organization_id, scope, revoke_time) VALUES ($1, $2, 'SERVICE', $3)",
        digest,
        ORGANIZATION,
        revoke_time,
    )


async def _old_session(old: Connection, state: SessionState, *, browser_type: str = "CHROME") -> SessionId:
    session_id = SessionId(RandomIds().new("pbs"))
    is_up = state is not SessionState.STARTING
    await old.execute(
        "INSERT INTO fleet.session (id, organization_id, state, spec, timeout, lifetime_limit, create_time, state_time,"
        " start_time, expire_time, end_time, node_id, registration_id, node_address, attach_url, epoch, close_reason,"
        " close_message, browser, client_count, warnings, request_id, request_digest, sequence, revision)"
        " VALUES ($1, $2, $3, jsonb_build_object('browser_type', $4::text), $5, $6, $7, $7, $8, $9, $10, 'nod_node-a',"
        " 'reg_1', 'a:1', 'ws://a', 1, $11, $12, $13, 2, '{Capped.}', 'once ' || $1, 'digest', 3, 4)",
        session_id,
        ORGANIZATION,
        state.value,
        browser_type,
        HOUR,
        24 * HOUR,
        NOON,
        NOON if is_up else None,
        NOON + HOUR if is_up else None,
        NOON + MINUTE if state.is_final else None,
        "IDLE" if state.is_final else None,
        "It was idle." if state.is_final else "",
        '{"product": "Chrome/150.0", "user_agent": "Mozilla/5.0 Chrome/150", "warm": false, "sandboxed": true}',
    )
    return session_id


def _as_read(session_id: SessionId, state: SessionState, *, browser_type: BrowserType = BrowserType.CHROME) -> Session:
    is_up = state is not SessionState.STARTING
    return Session(
        id=session_id,
        organization_id=ORGANIZATION,
        state=state,
        spec=BrowserSpec(browser_type=browser_type),
        timeout=HOUR,
        create_time=NOON,
        state_time=NOON,
        start_time=NOON if is_up else None,
        expire_time=NOON + HOUR if is_up else None,
        end_time=NOON + MINUTE if state.is_final else None,
        allocation=Allocation(
            node_id=NodeId("nod_node-a"), registration_id="reg_1", node_address="a:1", attach_url="ws://a"
        ),
        epoch=1,
        close_reason=CloseReason.IDLE if state.is_final else None,
        close_message="It was idle." if state.is_final else "",
        browser=FACTS,
        client_count=2,
        warnings=("Capped.",),
        request_id=f"once {session_id}",
        request_digest="digest",
        sequence=3,
        revision=4,
    )


async def test_a_node_that_the_version_before_registers_has_the_full_tier_alone(
    old: Connection, empty_database: str, migrated: Database
) -> None:
    await _migrate(empty_database)
    await _old_node(old, name="node-b")
    for name in ("node-a", "node-b"):
        node = await stored_node(migrated, NodeId(f"nod_{name}"))
        assert (node.capabilities, node.warm_browsers) == (Capabilities(), 0)


async def test_organizations_keep_their_cap(old: Connection, empty_database: str, migrated: Database) -> None:
    await _migrate(empty_database)
    async with migrated.single() as tx:
        organization = await tx.organizations.get(ORGANIZATION)
    limits = Limits(max_timeout=timedelta(minutes=30))
    assert organization == Organization(id=ORGANIZATION, limits=limits, create_time=organization.create_time)


async def test_keys_stay_good_and_revoked_ones_stay_revoked(
    old: Connection, empty_database: str, migrated: Database
) -> None:
    revoked = secret_digest("bf_2")
    await _old_key(old, _DIGEST)
    await _old_key(old, revoked, revoke_time=NOON - timedelta(days=10_000))
    await _migrate(empty_database)
    limits = Limits(max_timeout=timedelta(minutes=30))
    async with migrated.single() as tx:
        expected = Caller(organization_id=ORGANIZATION, scope=Scope.SERVICE, limits=limits)
        assert await tx.keys.caller(_DIGEST) == expected
        assert await tx.keys.caller(revoked) is None


async def test_keys_from_before_have_ids_and_are_older_than_new_ones(
    old: Connection, empty_database: str, migrated: Database
) -> None:
    for number in range(3):
        await _old_key(old, secret_digest(f"bf_{number}"))
    await _migrate(empty_database)
    # The version before goes on.
    await _old_key(old, _DIGEST + b"again")
    async with migrated.transaction() as tx:
        ids = [key.id for key in (await tx.keys.page(ORGANIZATION, PageRequest())).items]
        assert [(await tx.keys.get(key_id)).id for key_id in ids] == ids
    assert len(ids) == 4
    assert all(len(key_id) == len(RandomIds().new("key")) and key_id < RandomIds().new("key") for key_id in ids)


async def test_nodes_are_read_and_take_sessions(old: Connection, empty_database: str, migrated: Database) -> None:
    await _old_node(old, name="node-b", state="DRAINING")
    await _old_node(old, name="node-c", state="LOST")
    await _migrate(empty_database)
    nodes = [await stored_node(migrated, NodeId(f"nod_{name}")) for name in ("node-a", "node-b", "node-c")]
    assert [node.state for node in nodes] == [NodeState.ACTIVE, NodeState.DRAINING, NodeState.LOST]
    assert (nodes[0].slots_used, nodes[0].browsers) == (1, {BrowserType.CHROME: "Chrome/150.0"})
    async with migrated.transaction() as tx:
        assert [await tx.nodes.take_slot(node) for node in nodes] == [True, False, False]


@pytest.mark.parametrize("state", [SessionState.STARTING, SessionState.RUNNING, SessionState.CLOSED])
async def test_sessions_are_read(old: Connection, empty_database: str, migrated: Database, state: SessionState) -> None:
    chrome, edge = await _old_session(old, state), await _old_session(old, state, browser_type="MSEDGE")
    await _migrate(empty_database)
    assert await stored(migrated, chrome) == _as_read(chrome, state)
    assert await stored(migrated, edge) == _as_read(edge, state, browser_type=BrowserType.MSEDGE)
    assert await listed(migrated, SessionQuery(browser_types=(BrowserType.MSEDGE,))) == [edge]


async def test_unfinished_sessions_from_before_are_looked_at_until_they_are_saved(
    old: Connection, empty_database: str, migrated: Database
) -> None:
    before = [await _old_session(old, state) for state in (SessionState.STARTING, SessionState.RUNNING)]
    _ = await _old_session(old, SessionState.CLOSED)
    await _migrate(empty_database)
    meanwhile = await _old_session(old, SessionState.RUNNING)
    due = SessionQuery(due_before=NOON)
    assert set(await listed(migrated, due)) == {*before, meanwhile}
    async with migrated.transaction() as tx:
        for session_id in (*before, meanwhile):
            session, _ = await tx.sessions.lock(session_id)
            await tx.sessions.save(session)
    assert await listed(migrated, due) == []


async def test_a_session_that_the_version_before_saves_is_read(
    old: Connection, empty_database: str, migrated: Database
) -> None:
    await _migrate(empty_database)
    session_id = await _old_session(old, SessionState.STARTING)
    await old.execute(
        "UPDATE fleet.session SET state = 'RUNNING', start_time = $2, expire_time = $3, revision = 5"
        " WHERE id = $1 AND revision = 4",
        session_id,
        NOON,
        NOON + HOUR,
    )
    running = replace(_as_read(session_id, SessionState.RUNNING), revision=5)
    assert await stored(migrated, session_id) == running
