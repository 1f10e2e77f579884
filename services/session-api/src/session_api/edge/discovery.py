"""What can be attached to in a session's browser: asked of its node, and told with addresses of the caller's way.

A node may be hostile. Of what it says only short texts of known names are passed on; addresses are made here.
"""

import asyncio
import json
import re
import ssl
from urllib.parse import quote, urlsplit

from session_api.domain.errors import NodeUnavailable
from session_api.edge.door import Admission

_TIMEOUT_SECONDS = 5.0
_MAX_BYTES = 8 * 1024 * 1024
_MOST_TARGETS = 1000
_TARGET_ID = re.compile(r"[0-9A-F]{32}")
_LENGTHS = {"type": 64, "title": 1024, "url": 8192}


def version_of(admission: Admission) -> dict[str, str]:
    """Return what Chrome's own port answers at `/json/version`."""
    browser = admission.session.browser
    return {
        "Browser": browser.product if browser else "",
        # Chrome has called its protocol so for as long as there is one.
        "Protocol-Version": "1.3",
        "User-Agent": browser.user_agent if browser else "",
        "webSocketDebuggerUrl": _address(admission),
    }


async def targets_of(admission: Admission) -> list[dict[str, str]]:
    """Return what Chrome's own port answers at `/json/list`. Raises NodeUnavailable."""
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            listed = json.loads(await _ask_node(admission))
    except (OSError, TimeoutError, ValueError, RecursionError, asyncio.IncompleteReadError) as error:
        raise NodeUnavailable("The node does not say what can be attached to.") from error
    if not isinstance(listed, list):
        raise NodeUnavailable("The node does not say what can be attached to.")
    return [_described(admission, target) for target in listed[:_MOST_TARGETS] if _is_target(target)]


async def _ask_node(admission: Admission) -> bytes:
    """Return the body of the node's answer. Raises OSError, ValueError, IncompleteReadError, LimitOverrunError."""
    url = urlsplit(admission.endpoint.direct_url)
    secure = ssl.create_default_context() if url.scheme == "wss" else None
    port = url.port or (443 if secure else 80)
    reader, writer = await asyncio.open_connection(url.hostname, port, ssl=secure, limit=_MAX_BYTES)
    try:
        writer.write(
            f"GET {url.path}/json/list HTTP/1.1\r\nhost: {url.netloc}\r\nconnection: close\r\n"
            f"authorization: Bearer {admission.endpoint.token}\r\n\r\n".encode("latin-1")
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if not head.startswith("http/1.1 200 "):
            raise ValueError("the node refuses")
        length = re.search(r"\r\ncontent-length: *(\d{1,9})\r\n", head)
        if length is None or int(length[1]) > _MAX_BYTES:
            raise ValueError("the node's answer is too long, or has no length")
        return await reader.readexactly(int(length[1]))
    except asyncio.LimitOverrunError as error:
        raise ValueError("the node's answer has no end") from error
    finally:
        writer.close()


def _is_target(target: object) -> bool:
    return isinstance(target, dict) and isinstance(target.get("id"), str) and bool(_TARGET_ID.fullmatch(target["id"]))


def _described(admission: Admission, target: dict[str, object]) -> dict[str, str]:
    texts = {name: str(target.get(name, ""))[:length] for name, length in _LENGTHS.items()}
    address = _address(admission, f"/devtools/page/{target['id']}")
    scheme, _, rest = address.partition("://")
    return {
        "id": str(target["id"]),
        **texts,
        "description": "",
        "webSocketDebuggerUrl": address,
        "devtoolsFrontendUrl": f"devtools://devtools/bundled/inspector.html?{scheme}={quote(rest, safe='')}",
    }


def _address(admission: Admission, below: str = "") -> str:
    """Return the way that the caller takes.

    A client sends the headers of this request along to the address that it is given here. With a key among them that
    must be the edge: a node is assumed hostile and must not see the key.
    """
    endpoint = admission.endpoint
    address, _, query = (endpoint.direct_url if admission.by_token else endpoint.edge_url).partition("?")
    return f"{address}{below}?{query}"
