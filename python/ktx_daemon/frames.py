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

    Signal handlers of the user's code may raise at any time; no byte is lost
    or written twice then.
    """

    def __init__(self, source: int, target: int) -> None:
        """Read from the descriptor `source` and write to `target`."""
        self._source = (source,)
        self._target = (target,)
        self._received: list[bytes] = []

    def receive(self) -> list[bytes] | None:
        """Return the fields of the next frame, or `None` if no more come.

        After an exception, call it again.
        """
        if not self._fill(4):
            return None
        end = 4 + int.from_bytes(self._received[0][:4], "big")
        if not self._fill(end):
            return None
        data = self._received[0]
        fields = _split(data, end)
        self._received[:] = [data[end:]]
        return fields

    def send(self, fields: tuple[bytes, ...]) -> bool:
        """Write a frame; return whether anybody reads it."""
        data = memoryview(_join(fields))
        written: list[int] = []
        while data:
            try:
                # See `_fill`.
                written.extend(map(os.write, self._target, (data,)))
            except OSError:
                return False
            except BaseException:  # noqa: BLE001, S110 half a frame would end the worker
                pass
            data = data[sum(written) :]
            written.clear()
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
            except OSError:
                # The code closed descriptors that are not its own.
                return False
            if not received[-1]:
                return False
            size += len(received[-1])
        if len(received) > 1:
            received[:] = [b"".join(received)]
        return True


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
