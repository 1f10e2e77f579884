"""The use cases put together over their ports: one piece for the service, for tests and for simulations."""

import random
from dataclasses import dataclass, field
from datetime import timedelta

from fleetkit.clock import Clock
from fleetkit.ids import IdSource
from fleetkit.lifecycle import OwnedTasks
from fleetkit.paging import PageTokens
from fleetkit.sealing import SecretBox
from session_api.usecases.access import Access
from session_api.usecases.admission import Admission, QueuePolicy
from session_api.usecases.changes import ChangeHub
from session_api.usecases.dispatching import Dispatching
from session_api.usecases.ending import Ending
from session_api.usecases.heartbeats import Heartbeats
from session_api.usecases.leasing import Leasing
from session_api.usecases.metering import Metering
from session_api.usecases.node_operations import NodeOperations
from session_api.usecases.nodes import Nodes
from session_api.usecases.organizations import Organizations
from session_api.usecases.ports import Bells, Database, NodeGateway
from session_api.usecases.reaping import Reaping
from session_api.usecases.sealing import SecretSealing
from session_api.usecases.sessions import Sessions
from session_api.usecases.slots import Slots
from session_api.usecases.starting import Starting
from session_api.usecases.watching import Watching
from session_api.usecases.wishes import Wishes


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPolicy:
    """What an operator decides.

    `token_secret`, the same on every replica, signs page and resume tokens and seals secrets of sessions. Start URLs
    and proxies in private networks are refused unless `allow_private_urls`.
    """

    node_lease: timedelta = timedelta(seconds=15)
    allow_private_urls: bool = False
    queue: QueuePolicy = field(default_factory=QueuePolicy)
    token_secret: bytes


class ControlPlane:
    """The use cases of one replica."""

    def __init__(
        self,
        *,
        database: Database,
        nodes: NodeGateway,
        clock: Clock,
        ids: IdSource,
        tasks: OwnedTasks,
        bells: Bells,
        chance: random.Random,
        policy: ControlPolicy,
    ) -> None:
        ending = Ending(database=database, nodes=nodes, bells=bells)
        slots = Slots(clock=clock, chance=chance)
        admission = Admission(database=database, ids=ids, bells=bells, slots=slots, queue=policy.queue)
        starting = Starting(database=database, nodes=nodes, bells=bells, ending=ending, slots=slots)
        self.page_tokens = PageTokens(policy.token_secret)
        self.access = Access(database=database, clock=clock)
        self.hub = ChangeHub(database=database)
        self.sessions = Sessions(
            database=database,
            nodes=nodes,
            admission=admission,
            starting=starting,
            ending=ending,
            hub=self.hub,
            tasks=tasks,
            bells=bells,
            wishes=Wishes(
                sealing=SecretSealing(SecretBox(policy.token_secret)), allow_private_urls=policy.allow_private_urls
            ),
        )
        self.dispatching = Dispatching(database=database, starting=starting, tasks=tasks, bells=bells)
        self.leasing = Leasing(database=database, nodes=nodes, bells=bells)
        self.reaping = Reaping(
            database=database, nodes=nodes, ending=ending, tasks=tasks, bells=bells, lease=policy.node_lease
        )
        self.watching = Watching(database=database, hub=self.hub, clock=clock, tokens=self.page_tokens)
        self.nodes = Nodes(
            database=database,
            ids=ids,
            ending=ending,
            reaping=self.reaping,
            bells=bells,
            heartbeats=Heartbeats(database=database, tasks=tasks),
        )
        self.node_operations = NodeOperations(database=database, reaping=self.reaping, bells=bells)
        self.organizations = Organizations(database=database, ids=ids, access=self.access, bells=bells)
        self.metering = Metering(database=database)
