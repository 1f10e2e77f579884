"""States and reasons of a fleet that is newer than the client."""

import pytest

from browserfleet.client.states import ArtifactState, CloseReason, HolderKind, SessionState, WatchKind
from browserfleet.session.v1 import session_pb2, session_service_pb2


def test_every_state_and_reason_of_the_contract_is_known() -> None:
    states = [SessionState.of(number, session_pb2.Session.State.items(), prefix="STATE_") for number in range(7)]
    assert [str(state) for state in states] == [
        "UNSPECIFIED", "QUEUED", "STARTING", "RUNNING", "CLOSING", "CLOSED", "FAILED"
    ]  # fmt: skip
    for name, number in session_pb2.CloseReason.items():
        reason = CloseReason.of(number, session_pb2.CloseReason.items(), prefix="CLOSE_REASON_")
        assert f"CLOSE_REASON_{reason}" == name
    holders = [HolderKind.of(number, session_pb2.HolderKind.items(), prefix="HOLDER_KIND_") for number in range(3)]
    assert [str(holder) for holder in holders] == ["UNSPECIFIED", "TASK", "AGENT"]
    types = session_service_pb2.WatchSessionsResponse.Type.items()
    kinds = [WatchKind.of(number, types, prefix="TYPE_") for number in range(4)]
    assert [str(kind) for kind in kinds] == ["UNSPECIFIED", "SNAPSHOT", "CHANGED", "LEFT"]


@pytest.mark.parametrize("kind", [SessionState, CloseReason, ArtifactState])
def test_a_value_of_a_newer_fleet_reads_as_unspecified(
    kind: type[SessionState] | type[CloseReason] | type[ArtifactState],
) -> None:
    assert str(kind.of(99, session_pb2.Session.State.items(), prefix="STATE_")) == "UNSPECIFIED"
    assert str(kind.of(1, [("STATE_SUSPENDED", 1)], prefix="STATE_")) == "UNSPECIFIED"
