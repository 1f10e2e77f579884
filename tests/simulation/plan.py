"""What a schedule consists of, drawn from its seed."""

import random
from dataclasses import dataclass, field
from enum import Enum

from session_api.domain.identifiers import OrganizationId
from session_api.domain.organization import Limits

ORGANIZATIONS = (OrganizationId("o_acme"), OrganizationId("o_beta"))


class Kind(Enum):
    """CALM: nothing fails. SHORT: a few faults among few. STORMY: many, and every call may fail. LONG: many sessions."""

    CALM = "CALM"
    SHORT = "SHORT"
    STORMY = "STORMY"
    LONG = "LONG"


_KINDS = (Kind.CALM,) * 6 + (Kind.SHORT,) * 164 + (Kind.STORMY,) * 28 + (Kind.LONG,) * 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The actors of a schedule, and how bad its world is."""

    kind: Kind
    # Seconds until everything is mended.
    active: float
    slots: tuple[int, ...]
    replicas: int
    reapers: int
    # The organization of each caller.
    callers: tuple[OrganizationId, ...]
    watchers: int
    faults: int
    operations: int
    # Share of calls, transactions and messages that go wrong in one of the ways there are.
    trouble: float
    browser_trouble: float
    # Seconds that a browser takes to start, at most.
    start: float
    # Whether callers come all at the same time.
    herd: bool
    # Whether transactions interleave statement by statement.
    interleaves: bool
    # Seconds between passes over the nodes.
    nodes_interval: float
    limits: dict[OrganizationId, Limits] = field(default_factory=dict)


def draw_plan(chance: random.Random, kind: Kind | None = None) -> Plan:
    """Draw a plan, of one kind where it is given; most are small: few actors suffice for nearly every mistake."""
    drawn = chance.choice(_KINDS)
    kind = kind or drawn
    match kind:
        case Kind.CALM:
            plan = _plan(kind, chance, active=(15, 35), machines=(1, 2), callers=(3, 6))
        case Kind.SHORT:
            plan = _plan(kind, chance, active=(8, 25), machines=(1, 2), callers=(2, 4), faults=(1, 3))
        case Kind.STORMY:
            plan = _plan(kind, chance, active=(20, 60), machines=(2, 3), callers=(3, 6), faults=(2, 6), trouble=0.06)
        case Kind.LONG:
            plan = _plan(kind, chance, active=(90, 240), machines=(3, 6), callers=(6, 14), faults=(4, 12), trouble=0.02)
    return plan


def _plan(
    kind: Kind,
    chance: random.Random,
    *,
    active: tuple[int, int],
    machines: tuple[int, int],
    callers: tuple[int, int],
    faults: tuple[int, int] = (0, 0),
    trouble: float = 0.0,
) -> Plan:
    is_calm = kind is Kind.CALM
    return Plan(
        kind=kind,
        active=chance.uniform(*active),
        slots=tuple(chance.choice((1, 1, 2, 3)) for _ in range(chance.randint(*machines))),
        replicas=chance.choice((2, 2, 3)),
        reapers=chance.choice((1, 1, 2)),
        # What is served in order is so within an organization.
        callers=tuple(chance.choice(ORGANIZATIONS[: 1 if is_calm else 2]) for _ in range(chance.randint(*callers))),
        watchers=chance.choice((0, 0, 1)),
        faults=chance.randint(*faults),
        operations=0 if is_calm else chance.choice((0, 0, 0, 1, 2)),
        trouble=trouble * chance.random() if trouble else chance.choice((0.0, 0.0, 0.03)) * (not is_calm),
        browser_trouble=0.0 if is_calm else chance.choice((0.0, 0.0, 0.1, 0.3)),
        herd=chance.random() < 0.25,
        interleaves=chance.random() < 0.35,
        nodes_interval=2.0 if kind in {Kind.STORMY, Kind.LONG} else 4.0,
        start=chance.choice((1.5, 1.5, 6.0)),
        limits={name: _limits(chance) for name in ORGANIZATIONS},
    )


def _limits(chance: random.Random) -> Limits:
    return Limits(
        max_open_sessions=chance.choice((None, None, None, 1, 2)),
        max_creates_per_minute=chance.choice((None, None, None, 4)),
    )
