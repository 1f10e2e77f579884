"""What Chrome's own port answers at `/json/…`, with addresses that lead through this door."""

from urllib.parse import quote

from browser_node.adapters.doors.door import HttpAnswer, Visit
from browser_node.usecases.ports import OpenTarget

# Chrome has called its protocol so for as long as there is one.
_PROTOCOL_VERSION = "1.3"


class Discovery:
    """Answers for the visitors of one door. `scheme` is `ws`, or `wss` where TLS ends before the node."""

    def __init__(self, *, scheme: str) -> None:
        self._scheme = scheme

    def version(self, visit: Visit) -> HttpAnswer:
        facts = visit.admission.browser.facts
        return HttpAnswer(
            body={
                "Browser": facts.product,
                "Protocol-Version": _PROTOCOL_VERSION,
                "User-Agent": facts.user_agent,
                "webSocketDebuggerUrl": f"{self._scheme}://{_address(visit)}",
            }
        )

    def targets(self, visit: Visit) -> HttpAnswer:
        return HttpAnswer(body=[self._described(visit, target) for target in visit.admission.browser.targets])

    def _described(self, visit: Visit, target: OpenTarget) -> dict[str, str]:
        address = _address(visit, f"/devtools/page/{target.id}")
        return {
            "id": target.id,
            "type": target.type,
            "title": target.title,
            "url": target.url,
            "description": "",
            "webSocketDebuggerUrl": f"{self._scheme}://{address}",
            # DevTools takes the address without its scheme, and the name of the parameter says which it is.
            "devtoolsFrontendUrl": f"devtools://devtools/bundled/inspector.html?{self._scheme}={quote(address, safe='')}",
        }


def _address(visit: Visit, below: str = "") -> str:
    return f"{visit.host}/attach/{visit.session_id}{below}?token={quote(visit.token, safe='')}"
