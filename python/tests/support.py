"""The supervisor's side of a worker and of a warm parent."""

import array
import os
import select
import socket
import subprocess
import sys
import time
from pathlib import Path

import ktx_daemon

PACKAGE_ROOT = Path(ktx_daemon.__file__).parent.parent
PATIENCE = 30


def interpreter(module):
    """The command line that the supervisor uses, for the package under test."""
    program = (
        f"import sys; sys.path.append({str(PACKAGE_ROOT)!r})\n"
        f"from ktx_daemon.{module} import main; main()"
    )
    return [sys.executable, "-I", "-u", "-X", "utf8", "-c", program]


def frame(*fields):
    body = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return len(body).to_bytes(4, "big") + body


def request(
    code,
    *args,
    mode="session",
    form="json",
    filename="",
    cwd="",
    upstream=None,
    upstream_form="json",
    env=None,
):
    """The bytes of a request; `upstream` is bytes or None."""
    texts = [mode, form, filename, cwd, "" if upstream is None else upstream_form]
    return frame(
        *(text.encode() for text in texts),
        upstream or b"",
        code.encode(),
        b"".join(arg.encode() + b"\0" for arg in args),
        b"".join(f"{name}={value}\0".encode() for name, value in (env or {}).items()),
    )


class Reports:
    """The frames that come from a descriptor."""

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self._data = b""

    def next(self):
        """The fields of the next frame, or None at the end."""
        deadline = time.monotonic() + PATIENCE
        while True:
            end = 4 + int.from_bytes(self._data[:4], "big")
            if len(self._data) >= 4 and len(self._data) >= end:
                body, self._data = self._data[4:end], self._data[end:]
                return list(split(body))
            readable, _, _ = select.select(
                [self._descriptor], [], [], max(0, deadline - time.monotonic())
            )
            assert readable, "no report came in time"
            try:
                chunk = os.read(self._descriptor, 1 << 20)
            except ConnectionResetError:
                chunk = b""
            if not chunk:
                assert not self._data
                return None
            self._data += chunk


def split(body):
    at = 0
    while at < len(body):
        size = int.from_bytes(body[at : at + 4], "big")
        yield body[at + 4 : at + 4 + size]
        at += 4 + size
