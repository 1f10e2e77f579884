"""Messages that a consumer could not act on, kept on JetStream for people to look at."""

import re
from collections.abc import Mapping

from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import Header

from fleetkit.bus import DEAD_LETTERS_STREAM

_REASON = "Fleet-Dead-Reason"
_DELIVERIES = "Fleet-Dead-Deliveries"
_SIZE = "Fleet-Dead-Size"

# A letter is larger than its message by these headers, and the server cuts the connection of whoever publishes what is
# too large: so nothing is kept without a bound. Messages of the suite are far smaller.
_LONGEST_PAYLOAD = 64 * 1024
_LONGEST_HEADERS = 16 * 1024
_LONGEST_SUBJECT = 512
_LONGEST_REASON = 512
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class DeadLetters:
    """Keeps what one consumer gives up."""

    def __init__(self, stream: JetStreamContext, *, consumer: str) -> None:
        self._stream = stream
        self._prefix = f"dead.v1.{consumer}"

    async def keep(self, message: Msg, *, reason: str) -> None:
        """Return when the message is stored, cut where it is too large. Raises an error of NATS when it may not be.

        Keeping the same message again within two minutes changes nothing.
        """
        metadata = message.metadata
        await self._stream.publish(
            f"{self._prefix}.{message.subject[:_LONGEST_SUBJECT].rstrip('.')}",
            message.data[:_LONGEST_PAYLOAD],
            headers={
                **_kept(message.headers or {}),
                _REASON: reason[:_LONGEST_REASON],
                _DELIVERIES: str(metadata.num_delivered),
                _SIZE: str(len(message.data)),
                Header.MSG_ID.value: f"{self._prefix}.{metadata.stream}.{metadata.sequence.stream}",
            },
            stream=DEAD_LETTERS_STREAM,
        )


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """Return what travels on of a message's headers: JetStream would act on its own ones, or refuse the letter."""
    kept, room = {}, _LONGEST_HEADERS
    for name, value in headers.items():
        room -= len(f"{name}: {value}\r\n".encode())
        if room < 0:
            break
        if _HEADER_NAME.fullmatch(name) and not name.lower().startswith("nats-"):
            kept[name] = value
    return kept
