"""The channel between a worker and its supervisor.

A frame is the length of what follows and then fields, each its length and its
bytes; lengths are 32 bits, big-endian. A worker reads frames with requests and
writes frames with reports.

Only built-in modules are imported: this is on the path of every call.
"""

from __future__ import annotations

import os

# The most that a field may hold: a frame has room for some others beside it.
MAX_FIELD = 0xFFFF_0000

_CHUNK = 1 << 16
_LARGE_CHUNK = 1 << 20


class Channel:
    """Requests in, reports out, over one socket or two pipes.

    Signal handlers of the user's code may raise at any point in here and around
    it. What has been done is therefore kept in attributes, each step of it by
    one instruction of the interpreter, and every method can be called again.
    """

    def __init__(self, source: int, target: int) -> None:
        """Read from the descriptor `source` and write to `target`."""
        self._source = (source,)
        self._target = (target,)
        self._received: list[bytes] = []
        self._written: list[int] = []
        # The fields of a request that has not begun.
        self.request: list[bytes] = []
        # The fields of a report that is due.
        self.report: tuple[bytes, ...] = ()

    def receive(self) -> bool:
        """Wait for the next request; return whether one came."""
        if not self._fill(4):
            return False
        end = 4 + int.from_bytes(self._received[0][:4], "big")
        if not self._fill(end):
            return False
        data = self._received[0]
        fields, rest = _split(data, end), [data[end:]]
        self._received, self.request = rest, fields
        return True

    def begin(self, report: tuple[bytes, ...]) -> list[bytes]:
        """Return the request; from here on `report` is due, if no other is."""
        fields = self.request
        self.request, self.report = [], report
        return fields

    def replace(self, report: tuple[bytes, ...]) -> None:
        """Have another report due, unless some of the present one was written."""
        if not self._written:
            self.report = report

    def send(self) -> bool:
        """Write the report that is due; return whether anybody reads it."""
        data = memoryview(_join(self.report))
        while (size := sum(self._written)) < len(data):
            try:
                # See `_fill`.
                self._written.extend(map(os.write, self._target, (data[size:],)))
            except OSError as error:  # noqa: PERF203 nearly always once
                if _is_of_system(error):
                    return False
                raise
        self._written, self.report = [], ()
        return True

    def _fill(self, wanted: int) -> bool:
        """Read until there are `wanted` bytes, in one piece."""
        received = self._received
        size = sum(map(len, received))
        while size < wanted:
            chunk = _CHUNK if wanted - size < _CHUNK else _LARGE_CHUNK
            try:
                # `extend` and `map` are one step for the interpreter: no
                # signal handler comes between reading bytes and keeping them.
                received.extend(map(os.read, self._source, (chunk,)))
            except OSError as error:
                if _is_of_system(error):
                    # The code closed descriptors that are not its own.
                    return False
                raise
            if not received[-1]:
                return False
            size += len(received[-1])
        if len(received) > 1:
            self._received = [b"".join(received)]
        return True


def _is_of_system(error: BaseException) -> bool:
    """Return whether a call to the system failed, and no signal handler."""
    frames = error.__traceback__
    return isinstance(error, OSError) and frames is not None and frames.tb_next is None


def _split(data: bytes, end: int) -> list[bytes]:
    fields = []
    at = 4
    while at < end:
        start = at + 4
        at = start + int.from_bytes(data[at:start], "big")
        fields.append(data[start:at])
    return fields


def _join(fields: tuple[bytes, ...]) -> bytes:
    parts = [b""]
    for field in fields:
        parts += (len(field).to_bytes(4, "big"), field)
    parts[0] = sum(map(len, parts)).to_bytes(4, "big")
    return b"".join(parts)
