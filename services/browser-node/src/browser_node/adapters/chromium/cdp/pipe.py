"""The two ends of `--remote-debugging-pipe` that the node holds: NUL-separated JSON, both ways.

Chrome reads descriptor 3 and writes descriptor 4, and exits when its reading end meets end-of-file: a browser does
not outlive its node. Everything here is created close-on-exec, so no other child can hold an end open.
"""

import asyncio
import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import Protocol

# Linux: F_SETPIPE_SZ. With the default of 64 KiB a 5 MB message takes twice the time.
_PIPE_BYTES = 1 << 20
# What may wait for a browser that does not read, before its clients are no longer read either.
_WRITE_BUFFER_BYTES = 1 << 20


class PipeReader(Protocol):
    """Who gets a browser's messages."""

    def message(self, message: bytes) -> None:
        """Take one message, without its NUL."""
        ...

    def pipe_closed(self) -> None:
        """The browser has closed its end: it has ended."""
        ...

    def pipe_full(self) -> None:
        """The browser reads more slowly than is written to it."""
        ...

    def pipe_drained(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PipeEnds:
    """Descriptors of a fresh pair of pipes; `child_*` belong to the browser."""

    child_reads: int
    child_writes: int
    node_reads: int
    node_writes: int

    @classmethod
    def create(cls) -> "PipeEnds":
        """Make both pipes. The child's ends get numbers above 9, clear of the 3 and 4 where they will go."""
        child_reads, node_writes = os.pipe()
        node_reads, child_writes = os.pipe()
        for descriptor in (child_writes, node_writes):
            with contextlib.suppress(OSError):  # over the user's pipe quota: smaller pipes work too
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        return cls(_above_nine(child_reads), _above_nine(child_writes), node_reads, node_writes)

    def close_child_ends(self) -> None:
        os.close(self.child_reads)
        os.close(self.child_writes)

    def close_node_ends(self) -> None:
        os.close(self.node_reads)
        os.close(self.node_writes)


def _above_nine(descriptor: int) -> int:
    moved = fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(descriptor)
    return moved


class MessageSplitter:
    """Cuts a stream of chunks at NULs. Each byte is looked at once, whatever the chunks are."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the messages that this chunk completes."""
        end = chunk.find(b"\0")
        if end < 0:
            self._parts.append(chunk)
            return []
        first = chunk[:end]
        if self._parts:
            self._parts.append(first)
            first = b"".join(self._parts)
            self._parts = []
        messages = [first]
        start = end + 1
        while (end := chunk.find(b"\0", start)) >= 0:
            messages.append(chunk[start:end])
            start = end + 1
        if start < len(chunk):
            self._parts.append(chunk[start:])
        return messages


class _Reading(asyncio.Protocol):
    def __init__(self, reader: PipeReader) -> None:
        self._reader = reader
        self._splitter = MessageSplitter()

    def data_received(self, data: bytes) -> None:
        for message in self._splitter.feed(data):
            self._reader.message(message)

    def connection_lost(self, exc: Exception | None) -> None:
        self._reader.pipe_closed()


class _Writing(asyncio.BaseProtocol):
    def __init__(self, reader: PipeReader) -> None:
        self._reader = reader

    def pause_writing(self) -> None:
        self._reader.pipe_full()

    def resume_writing(self) -> None:
        self._reader.pipe_drained()


class Pipe:
    """The node's ends, open on the event loop."""

    def __init__(self, reading: asyncio.ReadTransport, writing: asyncio.WriteTransport, descriptor: int) -> None:
        self._reading = reading
        self._writing = writing
        self._descriptor = descriptor

    @classmethod
    async def open(cls, ends: PipeEnds, reader: PipeReader) -> "Pipe":
        """Take over the node's ends; messages go to `reader` from now on."""
        loop = asyncio.get_running_loop()
        reading, _ = await loop.connect_read_pipe(lambda: _Reading(reader), os.fdopen(ends.node_reads, "rb", 0))
        writing, _ = await loop.connect_write_pipe(lambda: _Writing(reader), os.fdopen(ends.node_writes, "wb", 0))
        writing.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        return cls(reading, writing, ends.node_writes)

    def write(self, message: bytes) -> None:
        """Send one message, and the NUL behind it. Raises RuntimeError when the pipe is closed."""
        if self._writing.is_closing():
            raise RuntimeError("the pipe is closed")
        written = 0
        if not self._writing.get_write_buffer_size():
            # At once, and without a copy; the event loop would do it after everything else in this round.
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                written = os.writev(self._descriptor, (message, b"\0"))
        if written <= len(message):
            self._writing.write(message[written:] + b"\0")

    def close(self) -> None:
        """Close both ends at once; a browser that still lives exits."""
        if not self._writing.is_closing():
            self._writing.abort()
        if not self._reading.is_closing():
            self._reading.close()
