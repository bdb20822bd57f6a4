"""The workers of a warm parent: which of them live, and how the others ended.

That a worker ended is observed before it is reaped. Until then its number is
its own, so its process group can be killed without hitting anybody else's.
"""

from __future__ import annotations

import _signal as signal
import os
import select

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Children:
    """The child processes that are not reaped yet."""

    def __init__(self) -> None:
        """Begin to observe."""
        self._living: set[int] = set()
        self._endings = Waits() if hasattr(os, "waitid") else Queue()

    def fileno(self) -> int:
        """Return what becomes readable when a child has ended."""
        return self._endings.fileno()

    def add(self, child: int) -> None:
        """Look after a child that was forked."""
        self._living.add(child)
        self._endings.add(child)

    def forget(self) -> None:
        """Be a child oneself."""
        self._endings.close()

    def end(self, child: int) -> None:
        """Kill a child and its group; nobody else, if there is no such child."""
        if child in self._living:
            _kill(child)

    def bury(self, report: Callable[[str], None]) -> None:
        """Reap the children that have ended, and what is left of their groups."""
        while (child := self._endings.next()) is not None:
            _kill(child)
            _, status = os.waitpid(child, 0)
            self._living.discard(child)
            if os.WIFSIGNALED(status):
                report(f"signal {child} {os.WTERMSIG(status)}")
            else:
                report(f"exit {child} {os.WEXITSTATUS(status)}")


def _kill(child: int) -> None:
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        # It has not come to make the group yet, and so has no descendants.
        os.kill(child, signal.SIGKILL)
    except PermissionError:
        # What macOS says of a group in which all are dead.
        pass


class Waits:
    """Where the system tells of an end without reaping."""

    def __init__(self) -> None:
        """Have SIGCHLD wake who waits for `fileno`."""
        self._reader, self._writer = os.pipe()
        os.set_blocking(self._reader, False)
        os.set_blocking(self._writer, False)
        # A handler, even one that does nothing, makes Python write the byte.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._writer, warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return what becomes readable when a child has ended."""
        return self._reader

    def add(self, child: int) -> None:
        """Do nothing: all children are waited for."""

    def close(self) -> None:
        """Leave signals as a new interpreter has them."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.close(self._reader)
        os.close(self._writer)

    def next(self) -> int | None:
        """Return a child that has ended and is not reaped."""
        try:  # noqa: SIM105 `contextlib` takes long to import
            os.read(self._reader, 4096)
        except BlockingIOError:
            pass
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        return ended.si_pid if ended else None


class Queue:
    """macOS before Python 3.13, which has no `waitid` there."""

    def __init__(self) -> None:
        """Make a queue of the kernel's events."""
        self._queue = select.kqueue()
        self._ended: list[int] = []

    def fileno(self) -> int:
        """Return what becomes readable when a child has ended."""
        return self._queue.fileno()

    def add(self, child: int) -> None:
        """Have the kernel tell when `child` ends."""
        event = select.kevent(
            child,
            select.KQ_FILTER_PROC,
            select.KQ_EV_ADD | select.KQ_EV_ONESHOT,
            select.KQ_NOTE_EXIT,
        )
        try:
            self._queue.control([event], 0)
        except ProcessLookupError:
            # It has ended already.
            self._ended.append(child)

    def close(self) -> None:
        """Let go of a descriptor that a forked process does not have."""
        try:  # noqa: SIM105 `contextlib` takes long to import
            self._queue.close()
        except OSError:
            pass

    def next(self) -> int | None:
        """Return a child that has ended and is not reaped."""
        self._ended += (event.ident for event in self._queue.control(None, 16, 0))
        return self._ended.pop() if self._ended else None
