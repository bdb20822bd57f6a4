"""The warm parent: it has imported what workers need, and forks them.

Standard input is a socket to the supervisor. Both sides write lines; a line
`fork` comes with three descriptors, the new worker's channel, standard output
and standard error. This process has one thread, runs no code of users, and does
nothing that a worker could make it wait for.

It is ready as soon as it can fork: `_socket` and `_signal` are what `socket` and
`signal` offer without the enumerations, which take as long to import as all the
rest. What only some calls need is imported while nobody asks for anything.
"""

from __future__ import annotations

import _signal as signal
import gc
import os
import select
from _socket import CMSG_SPACE, SCM_RIGHTS, SOL_SOCKET, socket

from ktx_daemon.children import Children
from ktx_daemon.frames import Channel
from ktx_daemon.worker import work

# More than one request can bring, for those that come at once.
_MAX_DESCRIPTORS = 64
_INT = 4

_WARMTH = ("ktx_daemon.packed", "ktx_daemon.failures", "json")


def main() -> None:
    """Fork workers until the supervisor is gone; be one of them, in each."""
    channel = Nursery().run()
    if channel is not None:
        work(channel)


class Nursery:
    """The supervisor's orders and the workers that came of them."""

    def __init__(self) -> None:
        """Take over standard input and become immune to what workers may do."""
        self._supervisor = socket(fileno=os.dup(0))
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.close(null)
        self._descriptors: list[int] = []
        self._line = b""
        # Blocked and not ignored: the workers then have the dispositions of a
        # new interpreter, without a system call for each signal.
        self._mask = signal.pthread_sigmask(
            signal.SIG_BLOCK, signal.valid_signals() - {signal.SIGCHLD}
        )
        self._children = Children()

    def run(self) -> Channel | None:
        """Obey; return a channel in a forked worker, `None` at the end of orders."""
        poll = select.poll()
        poll.register(self._supervisor, select.POLLIN)
        poll.register(self._children, select.POLLIN)
        cold = list(_WARMTH)
        # The workers share this memory until somebody writes to it, as
        # collecting garbage does.
        gc.disable()
        gc.freeze()
        try:
            self._say("up")
            while True:
                ready = [descriptor for descriptor, _ in poll.poll(0 if cold else None)]
                if cold and not ready:
                    __import__(cold.pop(0))
                    gc.freeze()
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
        space = CMSG_SPACE(_MAX_DESCRIPTORS * _INT)
        data, ancillary, _, _ = self._supervisor.recvmsg(1 << 16, space)
        for level, kind, content in ancillary:
            if (level, kind) == (SOL_SOCKET, SCM_RIGHTS):
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
        except BaseException as error:  # noqa: BLE001 this process must not become a second parent
            os.write(2, f"A worker could not be set up: {error!r}\n".encode())
            os._exit(1)
        return Channel(channel, channel)

    def _close(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            os.close(descriptor)

    def _say(self, line: str) -> None:
        self._supervisor.sendall(f"{line}\n".encode())
