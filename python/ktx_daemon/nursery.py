"""The warm parent: it has imported what workers need, and forks them.

Standard input is a socket to the supervisor. Both sides write lines; a line
`fork` comes with three descriptors, the new worker's channel, standard output
and standard error. This process has one thread, runs no code of users, and does
nothing that a worker could make it wait for.
"""

from __future__ import annotations

import gc
import json  # noqa: F401 for the workers
import os
import select
import signal
import socket
import sys
import traceback

from ktx_daemon import failures, packed  # noqa: F401 for the workers
from ktx_daemon.children import Children
from ktx_daemon.frames import Channel
from ktx_daemon.worker import serve

# More than one request can bring, for those that come at once.
_MAX_DESCRIPTORS = 64
_INT = 4


def main() -> None:
    """Fork workers until the supervisor is gone; be one of them, in each."""
    channel = Nursery().run()
    if channel is not None:
        sys.exit(serve(channel))


class Nursery:
    """The supervisor's orders and the workers that came of them."""

    def __init__(self) -> None:
        """Take over standard input and become immune to what workers may do."""
        self._supervisor = socket.socket(fileno=os.dup(0))
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        self._descriptors: list[int] = []
        self._line = b""
        # Blocked and not ignored: signals then have their dispositions of a
        # new interpreter in the workers, without a system call for each.
        self._mask = signal.pthread_sigmask(
            signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD}
        )
        self._children = Children()

    def run(self) -> Channel | None:
        """Obey; return a channel in a forked worker, `None` at the end of orders."""
        self._say("up")
        # The workers share this memory until they write to it, as collecting
        # garbage does.
        gc.collect()
        gc.freeze()
        gc.disable()
        poll = select.poll()
        poll.register(self._supervisor, select.POLLIN)
        poll.register(self._children, select.POLLIN)
        try:
            while True:
                ready = [descriptor for descriptor, _ in poll.poll()]
                if self._supervisor.fileno() in ready:
                    orders = self._orders()
                    if orders is None:
                        return None
                    for order in orders:
                        channel = self._obey(order)
                        if channel is not None:
                            return channel
                self._children.bury(self._say)
        except (BrokenPipeError, ConnectionResetError):
            return None

    def _orders(self) -> list[bytes] | None:
        space = socket.CMSG_SPACE(_MAX_DESCRIPTORS * _INT)
        data, ancillary, _, _ = self._supervisor.recvmsg(1 << 16, space)
        for level, kind, content in ancillary:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                whole = len(content) - len(content) % _INT
                self._descriptors += memoryview(content[:whole]).cast("i")
        if not data:
            return None
        *lines, self._line = (self._line + data).split(b"\n")
        return lines

    def _obey(self, order: bytes) -> Channel | None:
        word, _, argument = order.partition(b" ")
        if word == b"fork":
            return self._fork()
        if word == b"end":
            self._children.end(int(argument))
        return None

    def _fork(self) -> Channel | None:
        given, self._descriptors = self._descriptors[:3], self._descriptors[3:]
        if len(given) < 3:  # noqa: PLR2004 see the module's text
            self._close(given)
            self._say("failed The descriptors did not arrive")
            return None
        try:
            child = os.fork()
        except OSError as error:
            self._close(given)
            self._say(f"failed {error}")
            return None
        if child == 0:
            return self._leave(*given)
        self._close(given)
        self._children.add(child)
        self._say(f"forked {child}")
        return None

    def _leave(self, channel: int, stdout: int, stderr: int) -> Channel:
        """Keep nothing of the parent's, in a worker."""
        try:
            os.setsid()
            os.dup2(stdout, 1)
            os.dup2(stderr, 2)
            self._supervisor.close()
            self._close([stdout, stderr, *self._descriptors])
            os.set_inheritable(channel, False)  # noqa: FBT003 it takes no keyword
            self._children.forget()
            signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
            gc.enable()
        except BaseException:  # noqa: BLE001 this process must not become a second parent
            traceback.print_exc()
            os._exit(1)
        return Channel(channel, channel)

    def _close(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    def _say(self, line: str) -> None:
        self._supervisor.sendall(f"{line}\n".encode())
