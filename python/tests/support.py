"""The supervisor's side of workers and of the warm parent."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import ktx_daemon

PACKAGE_ROOT = Path(ktx_daemon.__file__).parent.parent
PATIENCE = 30


def interpreter(module, prelude=""):
    """The command line that the supervisor uses, for the package under test."""
    program = (
        f"import sys; sys.path.append({str(PACKAGE_ROOT)!r})\n{prelude}\n"
        f"from ktx_daemon.{module} import main; main()"
    )
    return [sys.executable, "-I", "-u", "-X", "utf8", "-c", program]


def frame(*fields):
    body = b"".join(len(field).to_bytes(4, "big") + field for field in fields)
    return len(body).to_bytes(4, "big") + body


def request(  # noqa: PLR0913 a request has nine fields
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
    """The bytes of a request; `upstream` is text, bytes or None."""
    texts = [mode, form, filename, str(cwd), "" if upstream is None else upstream_form]
    return frame(
        *(text.encode() for text in texts),
        upstream.encode() if isinstance(upstream, str) else upstream or b"",
        code.encode(),
        b"".join(arg.encode() + b"\0" for arg in args),
        b"".join(f"{name}={value}\0".encode() for name, value in (env or {}).items()),
    )


class Reader:
    """What comes from a descriptor, in time."""

    def __init__(self, descriptor):
        self._descriptor = descriptor
        self._data = b""

    def take(self, size):
        """The next `size` bytes; fewer at the end."""
        while len(self._data) < size and self._more():
            pass
        taken, self._data = self._data[:size], self._data[size:]
        return taken

    def until(self, mark):
        """What comes up to `mark`, which must come."""
        while mark not in self._data:
            assert self._more(), (mark, self._data)
        end = self._data.index(mark) + len(mark)
        return self.take(end)

    def rest(self):
        """Everything to the end."""
        while self._more():
            pass
        return self.take(len(self._data))

    def is_silent(self):
        """Whether nothing is there to be read."""
        return not self._data and not select.select([self._descriptor], [], [], 0)[0]

    def _more(self):
        readable, _, _ = select.select([self._descriptor], [], [], PATIENCE)
        assert readable, "nothing came in time"
        try:
            chunk = os.read(self._descriptor, 1 << 20)
        except ConnectionResetError:
            return False
        self._data += chunk
        return bool(chunk)


class Worker:
    """A worker: what it is told, and all that comes from it."""

    def __init__(self, write, report, stdout, stderr):
        """`write` takes bytes, or None for the end of input; the others are read."""
        self._write = write
        self._report = Reader(report)
        self.stdout = Reader(stdout)
        self.stderr = Reader(stderr)
        assert self.receive() == [b"ready"]

    def send(self, data):
        self._write(data)

    def receive(self):
        """The fields of the next report; None at the end."""
        head = self._report.take(4)
        if not head:
            return None
        body = self._report.take(int.from_bytes(head, "big"))
        fields = []
        at = 0
        while at < len(body):
            end = at + 4 + int.from_bytes(body[at : at + 4], "big")
            fields.append(body[at + 4 : end])
            at = end
        return fields

    def call(self, code, *args, **fields):
        self.send(request(code, *args, **fields))
        return self.receive()

    def value(self, code, *args, **fields):
        """The value of a call that succeeds, read from JSON."""
        word, *value = self.call(code, *args, **fields)
        assert word == b"value", value
        return json.loads(value[0])

    def failure(self, code, *args, **fields):
        """Kind, message, traceback and status of a call that fails."""
        kind, *texts = (field.decode() for field in self.call(code, *args, **fields))
        assert kind != "value", texts
        return kind, *texts

    def finish(self):
        """Send no more requests."""
        self._write(None)


class Direct(Worker):
    """An interpreter of its own."""

    def __init__(self, stack):
        report, report_writer = os.pipe()
        self.process = subprocess.Popen(
            [*interpreter("worker"), str(report_writer)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=[report_writer],
            bufsize=0,
        )
        stack.enter_context(self.process)
        stack.callback(os.close, report)
        stack.callback(self.process.kill)
        os.close(report_writer)
        super().__init__(
            self._to_stdin, report, self.process.stdout.fileno(), self.process.stderr.fileno()
        )

    def _to_stdin(self, data):
        if data is None:
            self.process.stdin.close()
            return
        view = memoryview(data)
        while view:
            view = view[self.process.stdin.write(view) :]

    def end(self):
        """How it ended, as the warm parent would say it."""
        status = self.process.wait(PATIENCE)
        return f"signal {-status}" if status < 0 else f"exit {status}"


class Forked(Worker):
    """A worker of a warm parent."""

    def __init__(self, nursery):
        self._nursery = nursery
        ours, theirs = socket.socketpair()
        stdout, stdout_writer = os.pipe()
        stderr, stderr_writer = os.pipe()
        nursery.stack.enter_context(ours)
        nursery.stack.callback(os.close, stdout)
        nursery.stack.callback(os.close, stderr)
        nursery.order("fork", theirs.fileno(), stdout_writer, stderr_writer)
        theirs.close()
        os.close(stdout_writer)
        os.close(stderr_writer)
        word, number = nursery.line().split()
        assert word == "forked"
        self.pid = int(number)

        def write(data):
            ours.shutdown(socket.SHUT_WR) if data is None else ours.sendall(data)

        super().__init__(write, ours.fileno(), stdout, stderr)

    def end(self):
        """How it ended."""
        return self._nursery.end(self.pid)


class Nursery:
    """A warm parent."""

    def __init__(self, stack, prelude=""):
        self.stack = stack
        self._socket, theirs = socket.socketpair()
        stack.enter_context(self._socket)
        with theirs:
            self.process = stack.enter_context(
                subprocess.Popen(
                    interpreter("nursery", prelude), stdin=theirs, stderr=subprocess.PIPE
                )
            )
        stack.callback(self.process.kill)
        self._lines = Reader(self._socket.fileno())
        self._ends = {}
        assert self.line() == "up"

    def write(self, data):
        self._socket.sendall(data)

    def order(self, line, *descriptors):
        data = f"{line}\n".encode()
        if descriptors:
            socket.send_fds(self._socket, [data], descriptors)
        else:
            self.write(data)

    def line(self):
        """The next line that does not tell of an end."""
        while (line := self._next()) is None:
            pass
        return line

    def end(self, pid):
        """How the worker ended."""
        while pid not in self._ends:
            line = self._next()
            assert line is None, line
        return self._ends.pop(pid)

    def _next(self):
        """The next line; None if it told of an end, which is kept."""
        line = self._lines.until(b"\n").decode().rstrip("\n")
        word, _, rest = line.partition(" ")
        if word not in ("exit", "signal"):
            return line
        pid, number = rest.split()
        assert int(pid) not in self._ends
        self._ends[int(pid)] = f"{word} {number}"
        return None

    def fork(self):
        return Forked(self)

    def leave(self):
        """Be gone, as a supervisor that was killed; return the parent's status."""
        self._socket.shutdown(socket.SHUT_RDWR)
        return self.process.wait(PATIENCE)


def is_alive(pid):
    """Whether the process exists and is no zombie."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.002)


@contextlib.contextmanager
def few_frames_left():
    """Let functions call each other no deeper than 40 levels from here."""
    limit = sys.getrecursionlimit()
    frame, depth = sys._getframe(), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    sys.setrecursionlimit(depth + 40)
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


@contextlib.contextmanager
def stranger():
    """A process that is none of a warm parent's."""
    sleeping = [sys.executable, "-c", "import time; time.sleep(1000)"]
    with subprocess.Popen(sleeping, start_new_session=True) as process:
        yield process
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
