"""What all rules share: the fleet and its model side by side, and the comparison after each step."""

import asyncio
import time
from collections.abc import Coroutine
from datetime import datetime, timedelta
from typing import ClassVar, TypeVar

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from fleetkit.errors import FleetError
from session_api.control_plane import ControlPlane
from session_api.domain.caller import Caller
from session_api.domain.identifiers import OrganizationId, SessionId
from session_api.domain.leases import ControlLease, Occupancy
from session_api.domain.node import Node
from session_api.domain.organization import Limits
from session_api.domain.session import Session
from tests.integration.session_api.invariants import violations
from tests.integration.session_api.machine.model import Model, ModelLease, ModelNode, ModelOrganization, ModelSession
from tests.integration.session_api.machine.world import Answer, Fleet, World
from tests.support.fleet_builders import a_caller, a_new_node

T = TypeVar("T")

# No sum of the spans that pass is one of these: nothing falls due at the instant at which something else happens.
SPANS = (10, 20, 70, 130)
IDLE_TIMEOUT = LEASE_TTL = DRAIN_TIMEOUT = 65

names = st.sampled_from(["a", "b", "c"])
replicas = st.integers(0, 1)
indexes = st.integers(0, 9)
silent_names = st.one_of(st.just(frozenset[str]()), st.frozensets(names, max_size=2))
mostly_done = st.sampled_from([Answer.DONE, Answer.DONE, Answer.HANGS])

# Work that goes on in the background is over by then, also on a busy machine.
_SETTLED_SECONDS = 10.0
_BOUND_SECONDS = 30.0


# The ID of a session that is yet to be made.
NOBODY = SessionId("")


def seconds(number: int) -> timedelta:
    return timedelta(seconds=number)


class Steps(RuleBasedStateMachine):
    """A machine without rules."""

    world: ClassVar[World]

    def __init__(self) -> None:
        super().__init__()
        self.model = Model(
            [
                ModelOrganization(id=OrganizationId("o_large"), weight=1),
                ModelOrganization(id=OrganizationId("o_small"), weight=2, most_open=2),
            ]
        )
        self.fleet: Fleet = self.run(self.world.begin(self.model.organizations))
        self.rows: dict[SessionId, Session] = {}
        self._ended: dict[SessionId, tuple[object, ...]] = {}

    @initialize(slots=st.integers(1, 3))
    def begin_with_a_node(self, slots: int) -> None:
        self.register("a", slots)

    def teardown(self) -> None:
        self.run(self.fleet.end())

    # ---- for rules

    def run(self, work: Coroutine[object, object, T]) -> T:
        async def bounded() -> T:
            # What hangs unexpectedly fails.
            async with asyncio.timeout(_BOUND_SECONDS):
                return await work

        return self.world.run(bounded())

    def plane(self, replica: int) -> ControlPlane:
        return self.fleet.plane(replica)

    def script(self, answer: Answer, silent: frozenset[str] = frozenset()) -> None:
        """Tell nodes how to answer from now on."""
        self.fleet.nodes.answer = answer
        self.fleet.nodes.silent = {node.id for name, node in self.model.nodes.items() if name in silent}

    def answered(self, work: Coroutine[object, object, T], *, refused_with: type[FleetError] | None = None) -> T | None:
        """Return the answer; a refusal must be the one that is expected, and None then."""
        try:
            answer = self.run(work)
        except FleetError as error:
            if type(error) is not refused_with:
                raise
            return None
        assert refused_with is None, f"{answer}, expected was {refused_with}"
        return answer

    def pick(self, index: int) -> ModelSession:
        """Return a session: small numbers are those that run, then come those that have not ended."""
        found = sorted(
            self.model.sessions.values(), key=lambda session: (not session.is_running, session.state.is_final)
        )
        return found[index % len(found)]

    def register(self, name: str, slots: int, replica: int = 0) -> None:
        registration = self.run(self.plane(replica).nodes.register(a_new_node(name=name, slots=slots)))
        node = self.model.nodes.get(name)
        if node is None:
            node = ModelNode(id=registration.node_id, slots=slots, registrations=[], beat=0)
            self.model.nodes[name] = node
        assert registration.node_id == node.id
        self.model.lose(node)
        node.registrations.append(registration.registration_id)
        node.slots, node.beat = slots, self.model.now
        node.is_lost, node.is_stopping, node.drain = False, False, None

    def adopt_nodes(self, *sessions: ModelSession) -> None:
        """Take over which nodes were chosen: any that has room will do."""
        rows, _, _ = self.run(self.fleet.rows())
        by_id = {node.id: node for node in self.model.nodes.values()}
        for session in sessions:
            allocation = rows[session.id].allocation
            session.node = by_id[allocation.node_id] if allocation else None

    @staticmethod
    def caller(organization: ModelOrganization) -> Caller:
        return a_caller(organization_id=organization.id, limits=Limits(max_open_sessions=organization.most_open))

    # ---- after each step

    @invariant()
    def everything_is_as_it_should_be(self) -> None:
        self.run(self._settled())
        found = self.run(violations(self.fleet.pool))
        assert not found, "\n".join(found)
        self.run(self.fleet.hear())
        for session_id, row in self.rows.items():
            # Every change was announced, and the last one as what it is now.
            assert self.fleet.sequences[session_id] == row.sequence
            assert self.fleet.announced[session_id] == row.state
            if row.state.is_final:
                end = (row.state, row.close_reason, row.close_message, row.start_time, row.end_time, row.sequence)
                assert self._ended.setdefault(session_id, end) == end

    async def _settled(self) -> None:
        """Return when the tables are as the model; what runs in the background comes to its end meanwhile."""
        deadline = time.monotonic() + _SETTLED_SECONDS
        while True:
            self.rows, nodes, now = await self.fleet.rows()
            differences = [*self._node_differences(list(nodes.values())), *self._session_differences(now)]
            if not differences:
                return
            assert time.monotonic() < deadline, "\n".join(differences)
            await asyncio.sleep(0.005)

    def _node_differences(self, nodes: list[Node]) -> list[str]:
        model = {node.id: node for node in self.model.nodes.values()}
        return [
            f"node {node.name}: {node.state}, {node.slots_used} slots used; expected {expected}"
            for node in nodes
            if (expected := (model[node.id].state, len(self.model.held(model[node.id]))))
            != (node.state, node.slots_used)
        ]

    def _session_differences(self, now: datetime) -> list[str]:
        differences = [f"{session_id}: stored is another one" for session_id in self.rows.keys() ^ self.model.sessions]
        for session_id, row in self.rows.items():
            session = self.model.sessions.get(session_id)
            if session is None:
                continue
            stored = (row.state, row.close_reason, _lease(row.occupancy), _lease(row.control))
            expected = (session.state, session.reason, _model_lease(session.occupancy), _model_lease(session.control))
            if stored != expected:
                differences.append(f"{session_id}: {stored}, expected {expected}")
            if session.is_running and session.deadline is not None and row.expire_time is not None:
                left, expected_left = row.expire_time - now, seconds(session.deadline - self.model.now)
                if abs(left - expected_left) > seconds(9):
                    differences.append(f"{session_id}: {left} left, expected {expected_left}")
        return differences


def _lease(lease: Occupancy | ControlLease | None) -> tuple[str, int] | None:
    if lease is None:
        return None
    return (lease.holder_id if isinstance(lease, Occupancy) else lease.holder, lease.generation)


def _model_lease(lease: ModelLease | None) -> tuple[str, int] | None:
    return (lease.holder, lease.generation) if lease else None
