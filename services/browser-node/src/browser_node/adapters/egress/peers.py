"""Whose process is at the other end of a loopback connection."""

import errno
import socket
import struct

_SOCK_DIAG = 4
_SOCK_DIAG_BY_FAMILY = 20
_REQUEST = 1
_ERROR = 2
_ANY_STATE = 0xFFFFFFFF
_NO_COOKIE = b"\xff" * 8
_HEADER = struct.Struct("=IHHII")
_ESTABLISHED = 1
_STATE_AT = _HEADER.size + 1
# Where the user stands in the answer: behind the header, four bytes of state, the socket's 48 bytes, three numbers.
_USER_AT = _HEADER.size + 4 + 48 + 12


class PeerUsers:
    """Asks the kernel (sock_diag) for one socket. A lookup takes microseconds and does not wait."""

    def __init__(self) -> None:
        """Raises OSError where the kernel does not answer such questions."""
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _SOCK_DIAG)
        self._netlink.setblocking(False)
        self._sequence = 0

    def user_of(self, *, peer: tuple[str, int], own: tuple[str, int]) -> int | None:
        """Return the user of the process that connected from `peer` to `own`; None when it has gone."""
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        body = struct.pack("=BBBxI", socket.AF_INET, socket.IPPROTO_TCP, 0, _ANY_STATE) + struct.pack(
            ">HH4s12x4s12x", peer[1], own[1], socket.inet_aton(peer[0]), socket.inet_aton(own[0])
        )
        body += struct.pack("=I", 0) + _NO_COOKIE
        header = _HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST, self._sequence, 0)
        self._netlink.send(header + body)
        # The kernel answers within `send`.
        answer = self._netlink.recv(8192)
        _, kind, _, sequence, _ = _HEADER.unpack_from(answer)
        if sequence != self._sequence:
            raise OSError(errno.EPROTO, "sock_diag answered another question")
        # A socket that was closed is nobody's any more, and is reported as root's.
        if kind == _ERROR or answer[_STATE_AT] != _ESTABLISHED:
            return None
        user: int = struct.unpack_from("=I", answer, _USER_AT)[0]
        return user

    def close(self) -> None:
        self._netlink.close()
