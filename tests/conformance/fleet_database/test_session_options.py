"""What sessions ask of their browsers and what nodes can do, as both databases keep it."""

from dataclasses import replace

import pytest

from fleetkit.paging import PageRequest
from fleetkit.sealing import SecretBox
from session_api.domain.browser import (
    BrowserFacts,
    BrowserSpec,
    BrowserTier,
    BrowserType,
    CustomProxy,
    Geolocation,
    Receipt,
    ReceiptState,
    SpecSecrets,
    Viewport,
)
from session_api.domain.capabilities import Capabilities
from session_api.domain.close_reason import CloseReason
from session_api.domain.node import Registration
from session_api.domain.queue import Waiting
from session_api.domain.session import Session, SessionState
from session_api.usecases.ports import Database
from session_api.usecases.queries import SessionQuery
from session_api.usecases.sealing import SecretSealing
from tests.conformance.fleet_database.subject import Postgres, add, numbered, register, save, stored, stored_node
from tests.support.fleet_builders import NOON, ORGANIZATION, a_new_node, a_report, a_session

_EVERYTHING = BrowserSpec(
    browser_type=BrowserType.CHROME,
    tier=BrowserTier.LEAN,
    viewport=Viewport(width=800, height=600),
    user_agent="Agent \u00df",
    locale="de-DE",
    timezone="Europe/Berlin",
    geolocation=Geolocation(latitude=52.5, longitude=-0.1, accuracy_meters=10.0),
    start_url="https://example.com/?a=1",
    headers=("Authorization", "x-key"),
    permissions=("geolocation", "clipboardReadWrite"),
    proxy_location="US",
    proxy=CustomProxy(url="http://proxy.example:3128", username="u"),
    extensions=("ad-blocker", "own"),
)
_RECEIPT = Receipt(option="locale", requested="de-DE", reported="de", state=ReceiptState.DIFFERENT, message="No.")
_FACTS = BrowserFacts(
    product="Chrome/1",
    user_agent="UA",
    warm=True,
    sandboxed=True,
    start_message="It stood ready.",
    receipts=(_RECEIPT, replace(_RECEIPT, option="timezone", state=ReceiptState.APPLIED)),
)
_SECRETS = SpecSecrets(headers={"x-key": "canary-1"}, proxy_password="canary-2")


def _running(**fields: object) -> Session:
    session = a_session(spec=_EVERYTHING, **fields)  # type: ignore[arg-type]  # fields
    return replace(session, browser=_FACTS)


async def test_everything_that_was_asked_comes_back(database: Database) -> None:
    on = (await register(database)).allocation
    session = _running(allocation=on)
    await add(database, session)
    assert await stored(database, session.id) == session


@pytest.mark.parametrize("name", list(_EVERYTHING.wishes))
async def test_each_option_comes_back_alone(database: Database, name: str) -> None:
    spec = replace(BrowserSpec(), **{name: getattr(_EVERYTHING, name)})
    session = a_session(state=SessionState.QUEUED, spec=spec)
    await add(database, session)
    assert (await stored(database, session.id)).spec == spec


async def test_secrets_stay_as_they_were_sealed_until_the_end(database: Database) -> None:
    on = (await register(database)).allocation
    session = _running(allocation=on, sealed_secrets="1.sealed")
    await add(database, session)
    saved = await save(database, session.expiring(now=NOON))
    assert saved.sealed_secrets == "1.sealed"
    ended = await save(database, saved.ended(now=NOON, reason=CloseReason.IDLE))
    assert ended.sealed_secrets == ""
    assert ended == replace(saved.ended(now=NOON, reason=CloseReason.IDLE), revision=saved.revision + 1)


async def test_lists_and_changes_leave_out_receipts_and_secrets(database: Database) -> None:
    on = (await register(database)).allocation
    session = _running(allocation=on, sealed_secrets="1.sealed")
    async with database.single() as tx:
        before = await tx.sessions.position()
    await add(database, session)
    expected = replace(session, browser=replace(_FACTS, receipts=()), sealed_secrets="")
    async with database.single() as tx:
        page = await tx.sessions.page(SessionQuery(), PageRequest())
        changes = await tx.sessions.changes(since=before)
        (held,) = await tx.sessions.on_node(on.node_id)
    assert page.items == [expected]
    assert changes.sessions == [expected]
    assert held == session


async def test_no_secret_can_be_read_in_the_database(real: Postgres, postgres_database: Database) -> None:
    on = (await register(postgres_database)).allocation
    sealed = SecretSealing(SecretBox(b"secret")).seal(_SECRETS, ORGANIZATION)
    session = _running(allocation=on, sealed_secrets=sealed)
    async with postgres_database.transaction() as tx:
        await tx.sessions.add(session)
        await tx.outbox.announce(session, what="created", now=NOON)
        await tx.outbox.schedule(session)
    assert SecretSealing(SecretBox(b"secret")).open(await stored(postgres_database, session.id)) == _SECRETS
    tables = await real.connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'fleet'")
    dump = ""
    for table in tables:
        rows = await real.connection.fetch(f"SELECT row::text FROM fleet.{table['tablename']} AS row")
        dump += "".join(row["row"] for row in rows)
    for row in await real.connection.fetch("SELECT payload FROM fleet.outbox"):
        dump += row["payload"].decode("latin-1")
    assert session.id in dump
    assert "canary" not in dump


# ---- nodes


async def test_what_a_node_can_do_comes_back_and_goes_with_its_registration(database: Database) -> None:
    node = await register(database)
    assert (node.capabilities, node.warm_browsers) == (Capabilities(), 0)
    can = Capabilities(
        tiers=frozenset(BrowserTier), proxy_locations=frozenset({"US", "DE"}), extensions=frozenset({"own"})
    )
    for number, capabilities in enumerate((can, Capabilities(tiers=frozenset()), Capabilities())):
        ids = Registration(node_id=node.id, registration_id=f"reg_{number + 2}")
        async with database.transaction() as tx:
            await tx.nodes.register(a_new_node(capabilities=capabilities), ids=ids, now=NOON)
        assert (await stored_node(database, node.id)).capabilities == capabilities


async def test_browsers_that_stand_ready_are_counted_down_until_the_next_report(database: Database) -> None:
    node = await register(database, slots=4)
    registration = Registration(node_id=node.id, registration_id="reg_1")

    async def ready() -> int:
        return (await stored_node(database, node.id)).warm_browsers

    async with database.single() as tx:
        await tx.nodes.beat(a_report(registration, warm_browsers=1))
    assert await ready() == 1
    for left in (0, 0):
        async with database.transaction() as tx:
            assert await tx.nodes.take_slot(node)
        assert await ready() == left
    async with database.single() as tx:
        await tx.nodes.beat(a_report(registration, warm_browsers=2))
    assert await ready() == 2
    await register(database, slots=4, registration_id="reg_2")
    assert await ready() == 0


async def test_a_heartbeat_says_who_has_control(database: Database) -> None:
    node = await register(database)
    session = a_session(allocation=node.allocation)
    await add(database, session)
    registration = Registration(node_id=node.id, registration_id="reg_1")

    async def control() -> int:
        async with database.single() as tx:
            beat = await tx.nodes.beat(a_report(registration))
        assert beat is not None
        return beat.held[0].control_generation

    assert await control() == 0
    controlled = await save(database, replace(session, controls=6).controlled("Ada", now=NOON, ttl=NOON - NOON))
    assert await control() == 7
    await save(database, controlled.uncontrolled(7, now=NOON))
    assert await control() == 0


# ---- the queue


async def test_each_needs_oldest_are_waiting_up_to_the_limit(database: Database) -> None:
    specs = [
        BrowserSpec(),
        BrowserSpec(locale="de"),
        BrowserSpec(proxy_location="US"),
        BrowserSpec(proxy_location="DE"),
        BrowserSpec(tier=BrowserTier.LEAN),
        BrowserSpec(extensions=("own",)),
    ]
    sessions = [
        a_session(session_id=numbered(10 * place + nth), state=SessionState.QUEUED, spec=spec)
        for place, spec in enumerate(specs)
        for nth in range(3)
    ]
    await add(database, *sessions)
    # A locale is nothing that a node could lack: the first two have one need.
    expected = [
        session for session in sessions if session.id not in {numbered(n) for n in (2, 10, 11, 12, 22, 32, 42, 52)}
    ]
    async with database.single() as tx:
        waiting = await tx.queue.waiting(limit=2)
    assert sorted(waiting, key=lambda entry: entry.session_id) == [
        Waiting(session_id=session.id, organization_id=ORGANIZATION, need=session.spec.need) for session in expected
    ]
