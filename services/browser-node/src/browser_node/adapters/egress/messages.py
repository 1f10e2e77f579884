"""HTTP messages on their way through a proxy: whose they are, and what of them goes on."""

from collections.abc import Iterable
from dataclasses import dataclass

import h11

from browser_node.domain.egress import Destination, EgressDenied

Headers = list[tuple[bytes, bytes]]

# What belongs to one hop only. Transfer-Encoding stays: it says how the body is framed on the next hop as well.
_HOP_BY_HOP = frozenset(
    {
        *(b"connection", b"keep-alive", b"te", b"trailer", b"upgrade"),
        *(b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"proxy-authentication-info"),
    }
)
_SCHEME = b"http://"
_STARTS_PATH = b"/?#"


@dataclass(frozen=True, slots=True)
class Target:
    """What a request with a whole URL is for; `path` is in origin form."""

    destination: Destination
    authority: bytes
    path: bytes


def read_target(target: bytes) -> Target:
    """Take the URL of a request apart. Raises EgressDenied for what is no plain `http:` URL."""
    if target[: len(_SCHEME)].lower() != _SCHEME:
        raise EgressDenied("A proxy takes http:// URLs and CONNECT.")
    rest = target[len(_SCHEME) :]
    end = min((at for at in (rest.find(sign) for sign in _STARTS_PATH) if at >= 0), default=len(rest))
    if b"\\" in rest[:end]:
        # Some read it as a slash, some do not: what stands before an `@` would be the host or not.
        raise EgressDenied("The host is not valid.")
    authority = rest[:end].rpartition(b"@")[2]
    path = rest[end:].partition(b"#")[0]
    destination = Destination.parse(authority.decode("ascii"), default_port=80)
    return Target(destination, authority, path if path.startswith(b"/") else b"/" + path)


def request_onward(
    request: h11.Request, target: Target, *, proxy_authorization: bytes | None, whole: bool
) -> h11.Request:
    """Return the request as the next hop gets it; `whole`: an upstream that is told the whole URL."""
    headers = _end_to_end(request.headers.raw_items(), without={b"host"})
    headers.insert(0, (b"Host", target.authority))
    if is_websocket(request.headers):
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    if proxy_authorization is not None:
        headers.append((b"Proxy-Authorization", proxy_authorization))
    path = _SCHEME + target.authority + target.path if whole else target.path
    return h11.Request(method=request.method, target=path, headers=headers)


def response_back(response: h11.Response | h11.InformationalResponse) -> Headers:
    """Return the headers that the browser gets."""
    headers = _end_to_end(response.headers.raw_items())
    if response.status_code == 101:
        headers += [(b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return headers


def is_websocket(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name == b"upgrade" and value.lower() == b"websocket" for name, value in headers)


def refusal(status: int, why: str) -> tuple[h11.Response, bytes]:
    """Return an answer of the forwarder's own, after which the connection ends.

    It is plain text: it stands in the origin of the page that was asked for, where nothing may run.
    """
    body = f"{why}\n".encode()
    headers = [
        (b"Content-Type", b"text/plain; charset=utf-8"),
        (b"X-Content-Type-Options", b"nosniff"),
        (b"Cache-Control", b"no-store"),
        (b"Content-Length", str(len(body)).encode()),
        (b"Connection", b"close"),
    ]
    reason = {400: b"Bad Request", 403: b"Forbidden", 431: b"Request Header Fields Too Large", 504: b"Gateway Timeout"}
    return h11.Response(status_code=status, headers=headers, reason=reason.get(status, b"Bad Gateway")), body


def _end_to_end(items: Iterable[tuple[bytes, bytes]], *, without: Iterable[bytes] = ()) -> Headers:
    pairs = list(items)
    dropped = {*_HOP_BY_HOP, *without}
    for name, value in pairs:
        if name.lower() == b"connection":
            # What Connection names is of this hop only; a body's length and framing may not be hidden like that.
            named = {token.strip().lower() for token in value.split(b",")}
            dropped |= named - {b"content-length", b"transfer-encoding", b"host"}
    return [(name, value) for name, value in pairs if name.lower() not in dropped]
