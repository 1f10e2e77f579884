"""Runs hold sessions, and people take control of them."""

import hypothesis.strategies as st
from hypothesis.stateful import precondition, rule

from fleetkit.errors import FleetError
from session_api.domain.errors import ControlTaken, SessionNotOpen, SessionOccupied
from session_api.domain.leases import HolderKind
from tests.integration.session_api.machine.model import ModelLease, ModelSession
from tests.integration.session_api.machine.steps import LEASE_TTL, Steps, indexes, replicas, seconds

_holders = st.sampled_from(["ann", "bob"])
# Behind the present generation; 1 is an old one.
_behind = st.sampled_from([0, 0, 1])


class LeaseRules(Steps):
    @precondition(lambda self: self.model.sessions)
    @rule(replica=replicas, index=indexes, holder=_holders, for_ever=st.booleans())
    def occupy(self, replica: int, index: int, holder: str, for_ever: bool) -> None:
        session, now = self.pick(index), self.model.now
        held = session.occupancy if session.occupancy and not session.occupancy.is_over(now) else None
        refused_with = _refusal(session, held, holder, SessionOccupied)
        ttl = None if for_ever else seconds(LEASE_TTL)
        caller, leasing = self.caller(session.organization), self.plane(replica).leasing
        occupying = leasing.occupy(caller, session.id, kind=HolderKind.TASK, holder_id=holder, ttl=ttl)
        self.answered(occupying, refused_with=refused_with)
        if refused_with is None:
            until = None if for_ever else now + LEASE_TTL
            session.holdings += held is None
            session.occupancy = ModelLease(holder=holder, generation=session.holdings, until=until)

    @precondition(lambda self: self.model.sessions)
    @rule(replica=replicas, index=indexes, behind=_behind)
    def release(self, replica: int, index: int, behind: int) -> None:
        session = self.pick(index)
        caller, leasing = self.caller(session.organization), self.plane(replica).leasing
        self.answered(leasing.release(caller, session.id, generation=session.holdings - behind))
        if session.occupancy is not None and not behind:
            session.occupancy, session.active = None, self.model.now

    @precondition(lambda self: self.model.sessions)
    @rule(replica=replicas, index=indexes, holder=_holders, takes_over=st.booleans())
    def take_control(self, replica: int, index: int, holder: str, takes_over: bool) -> None:
        session, now = self.pick(index), self.model.now
        control = session.control if session.control and not session.control.is_over(now) else None
        refused_with = _refusal(session, control if not takes_over else None, holder, ControlTaken)
        caller, leasing = self.caller(session.organization), self.plane(replica).leasing
        taking = leasing.take_control(caller, session.id, holder=holder, ttl=seconds(LEASE_TTL), take_over=takes_over)
        self.answered(taking, refused_with=refused_with)
        if refused_with is None:
            session.controls += control is None or control.holder != holder
            session.control = ModelLease(holder=holder, generation=session.controls, until=now + LEASE_TTL)

    @precondition(lambda self: self.model.sessions)
    @rule(replica=replicas, index=indexes, behind=_behind)
    def release_control(self, replica: int, index: int, behind: int) -> None:
        session = self.pick(index)
        caller, leasing = self.caller(session.organization), self.plane(replica).leasing
        self.answered(leasing.release_control(caller, session.id, generation=session.controls - behind))
        if session.control is not None and not behind:
            session.control, session.active = None, self.model.now


def _refusal(
    session: ModelSession, lease: ModelLease | None, holder: str, taken: type[FleetError]
) -> type[FleetError] | None:
    if not session.is_running:
        return SessionNotOpen
    return taken if lease is not None and lease.holder != holder else None
