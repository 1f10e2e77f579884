"""What a heartbeat's answer means for the browsers that the heartbeat reported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from browser_node.domain.browser import Assignment, RunningBrowser


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """Browsers to stop, and assignments whose deadline is to be set."""

    stops: tuple[RunningBrowser, ...]
    deadlines: tuple[Assignment, ...]


def reconcile(reported: Sequence[RunningBrowser], assignments: Iterable[Assignment]) -> Reconciliation:
    """Compare a report with its answer.

    A browser that started after the report was made is not in it and stays untouched: the answer could not know it.
    """
    wanted = {(assignment.session_id, assignment.epoch): assignment for assignment in assignments}
    stops = tuple(browser for browser in reported if (browser.session_id, browser.epoch) not in wanted)
    known = {(browser.session_id, browser.epoch) for browser in reported}
    deadlines = tuple(assignment for key, assignment in wanted.items() if key in known)
    return Reconciliation(stops=stops, deadlines=deadlines)
