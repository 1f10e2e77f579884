"""What the steps of the demo share."""

import contextlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from browserfleet.client import Fleet
from local_stack.demo.checks import Action, NotSeen
from local_stack.demo.web_application import WebApplication
from local_stack.options import StackOptions
from local_stack.stack import LocalStack

Steps = list[tuple[str, Action]]
Thing = TypeVar("Thing")


@dataclass(slots=True, kw_only=True)
class Scene:
    """Filled as the steps succeed; asking for what did not come about fails the step that asks."""

    options: StackOptions
    output_dir: Path
    blocks: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)
    started_stack: LocalStack | None = None
    started_application: WebApplication | None = None
    opened_fleet: Fleet | None = None

    @property
    def stack(self) -> LocalStack:
        return needed(self.started_stack, "the stack")

    @property
    def application(self) -> WebApplication:
        return needed(self.started_application, "the web application")

    @property
    def fleet(self) -> Fleet:
        return needed(self.opened_fleet, "the client")

    @property
    def logs(self) -> Path:
        return self.options.state_dir / "logs"

    def client_environment(self) -> dict[str, str]:
        """The environment of another program that uses the fleet."""
        return {**os.environ, **self.stack.client_environment}


def needed(thing: Thing | None, name: str) -> Thing:
    """Return the thing, or raise NotSeen when the step that makes it failed."""
    if thing is None:
        raise NotSeen(f"not tried: {name} did not come about")
    return thing
