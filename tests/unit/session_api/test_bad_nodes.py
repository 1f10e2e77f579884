"""NodeService against the bad-input matrix: exact codes and reasons."""

import pytest
from google.protobuf.duration_pb2 import Duration

from browserfleet.node.v1 import node_pb2, node_service_pb2
from fleetkit.ids import RandomIds
from tests.unit.session_api.entry import Entry
from tests.unit.session_api.messages import a_registration
from tests.unit.session_api.refusals import INVALID, SCOPE, Attempt, Refusal, see_refused

_NOT_FOUND: Refusal = ("NOT_FOUND", "NODE_NOT_FOUND")
_ENDED: Refusal = ("ABORTED", "REGISTRATION_ENDED")
_ABSENT = RandomIds().new("nod")


def _registration(**changes: object) -> Attempt:
    return lambda e: e.register(a_registration(**changes))


def _report(**changes: object) -> Attempt:
    fields: dict[str, object] = {"node_id": "nod_x", "registration_id": "reg_x"}
    return lambda e: e.beat(node_service_pb2.HeartbeatRequest(**fields | changes))  # type: ignore[arg-type]  # wrong


def _get(node_id: str) -> Attempt:
    return lambda e: e.call(e.door.nodes.GetNode, node_service_pb2.GetNodeRequest(node_id=node_id), key=e.service)


def _cordon(node_id: str) -> Attempt:
    return lambda e: e.call(e.door.nodes.CordonNode, node_service_pb2.CordonNodeRequest(node_id=node_id), key=e.service)


def _uncordon(node_id: str) -> Attempt:
    return lambda e: e.call(
        e.door.nodes.UncordonNode, node_service_pb2.UncordonNodeRequest(node_id=node_id), key=e.service
    )


def _drain(**changes: object) -> Attempt:
    return lambda e: e.call(
        e.door.nodes.DrainNode,
        node_service_pb2.DrainNodeRequest(**{"node_id": str(e.node_id)} | changes),  # type: ignore[arg-type]  # wrong on purpose
        key=e.service,
    )


async def _old_registration(entry: Entry) -> object:
    """Report under a registration that another one followed."""
    first = await entry.register(a_registration(name="node-b"))
    await entry.register(a_registration(name="node-b"))
    return await entry.beat(
        node_service_pb2.HeartbeatRequest(node_id=first.node_id, registration_id=first.registration_id)
    )


_ATTEMPTS: dict[str, tuple[Attempt, Refusal]] = {
    # 25: registrations
    "a member does not register nodes": (lambda e: e.register(a_registration(), key=e.member), SCOPE),
    "an operator does not register nodes": (lambda e: e.register(a_registration(), key=e.service), SCOPE),
    "a node without slots is refused": (_registration(slots=0), INVALID),
    "a node with minus 1 slots is refused": (_registration(slots=-1), INVALID),
    "a node with a million slots is refused": (_registration(slots=10**6), INVALID),
    "a node without browsers is refused": (_registration(browsers=[]), INVALID),
    "a node with 17 browsers is refused": (_registration(browsers=[node_pb2.InstalledBrowser()] * 17), INVALID),
    "a node without a name is refused": (_registration(name=""), INVALID),
    "a node with a name in capitals is refused": (_registration(name="Node"), INVALID),
    "a node with a name of 64 characters is refused": (_registration(name="n" * 64), INVALID),
    "a node with a name that ends its line is refused": (_registration(name="node\n"), INVALID),
    "a node with a path for a name is refused": (_registration(name="../node"), INVALID),
    "a node without an address is refused": (_registration(address=""), INVALID),
    "a node with an attach address that is no WebSocket is refused": (
        _registration(attach_url="http://127.0.0.1:2"),
        INVALID,
    ),
    "a node with a path in its attach address is refused": (_registration(attach_url="ws://127.0.0.1:2/x"), INVALID),
    "a node with a query in its attach address is refused": (_registration(attach_url="ws://a?b"), INVALID),
    # Reports
    "a report under an old registration is refused": (_old_registration, _ENDED),
    "a report under an unknown registration is refused": (_report(), _ENDED),
    "a report of a known node under another registration is refused": (
        lambda e: _report(node_id=str(e.node_id))(e),
        _ENDED,
    ),
    "a report of nobody is refused": (lambda e: e.beat(node_service_pb2.HeartbeatRequest()), INVALID),
    "a report without a registration is refused": (_report(registration_id=""), INVALID),
    "a report of 10,001 browsers is refused": (_report(running=[node_pb2.RunningBrowser()] * 10_001), INVALID),
    "a report of 10,001 ends is refused": (_report(ended=[node_pb2.EndedBrowser()] * 10_001), INVALID),
    # Operators
    "a node that never was is not shown": (_get(_ABSENT), _NOT_FOUND),
    "a node that never was is not cordoned": (_cordon(_ABSENT), _NOT_FOUND),
    "a node that never was is not uncordoned": (_uncordon(_ABSENT), _NOT_FOUND),
    "a node that never was is not drained": (_drain(node_id=_ABSENT), _NOT_FOUND),
    "an ID of another kind is no node": (_get("pbs_" + "0" * 26), INVALID),
    "SQL is no node": (_cordon("nod_'; DROP TABLE fleet.node; --"), INVALID),
    "a name is no node": (_uncordon("node-a"), INVALID),
    "a drain of an empty ID is refused": (_drain(node_id=""), INVALID),
    "a drain of 0 seconds is refused": (_drain(timeout=Duration()), INVALID),
    "a drain of a negative time is refused": (_drain(timeout=Duration(seconds=-1)), INVALID),
    "a drain of more than 25 hours is refused": (_drain(timeout=Duration(seconds=90_001)), INVALID),
    "a drain of 10,000 years is refused": (_drain(timeout=Duration(seconds=2**62)), INVALID),
    "a drain in an unknown way is refused": (_drain(mode=99), INVALID),
    "a list by an unknown state is refused": (
        lambda e: e.call(e.door.nodes.ListNodes, node_service_pb2.ListNodesRequest(states=[99]), key=e.service),  # type: ignore[list-item]  # wrong on purpose
        INVALID,
    ),
}


@pytest.mark.parametrize("sentence", list(_ATTEMPTS))
async def test_bad_node(entry: Entry, sentence: str) -> None:
    attempt, expected = _ATTEMPTS[sentence]
    before = entry.fleet.database.node(entry.node_id)
    await see_refused(entry, attempt, expected)
    assert entry.fleet.database.node(entry.node_id) == before
