"""The warm parent as its supervisor drives it, and what workers may do to it."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support import Nursery, is_alive, request, stranger, wait_until

from ktx_daemon import children

MANY = 100
ON_LINUX = sys.platform.startswith("linux")

needs_proc = pytest.mark.skipif(not ON_LINUX, reason="no /proc on this system")
needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="no process forks on this system")
pytestmark = needs_fork

# All that a process can ask to be told of; nobody can ask that of these two.
CATCHABLE = (
    sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
    if sys.platform != "win32"
    else []
)
DISPOSITIONS = (
    "import signal\n"
    "[[int(n), repr(signal.getsignal(n)).partition(' at ')[0]] for n in signal.valid_signals()]"
    " + sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, [])))"
)


def children_of(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def descriptors_of(pid):
    return sorted(int(path.name) for path in Path(f"/proc/{pid}/fd").iterdir())


def test_runs_a_call_in_each_worker_it_forks(nursery):
    for number in range(3):
        worker = nursery.fork()
        assert worker.call(f"print({number}); {number}", mode="once")[1] == b"%d" % number
        assert worker.end() == "exit 0"
        assert worker.stdout.rest() == b"%d\n" % number
        assert worker.stderr.rest() == b""


def test_keeps_workers_apart(nursery):
    first, second = nursery.fork(), nursery.fork()
    first.value("import json, sys; x = json.x = sys.x = 1; sys.path.clear()")
    second.value("import json, sys")
    assert second.value("[hasattr(json, 'x'), hasattr(sys, 'x'), 'x' in globals()]") == [False] * 3
    third = nursery.fork()
    assert third.value("import json; hasattr(json, 'x')") is False


@needs_proc
def test_forks_many_and_leaves_nothing_behind(nursery):
    # What it has while it starts is not there after the first round.
    seen = []
    for _ in range(3):
        workers = [nursery.fork() for _ in range(MANY)]
        for worker in workers:
            worker.send(request("import os; os.getpid()", mode="once"))
        for worker in workers:
            assert worker.receive() == [b"value", str(worker.pid).encode()]
            assert worker.end() == "exit 0"
        assert children_of(nursery.process.pid) == []
        seen.append(descriptors_of(nursery.process.pid))
    assert seen == seen[:1] * 3


@needs_proc
def test_gives_workers_no_descriptor_but_their_own(nursery):
    others = [nursery.fork() for _ in range(5)]
    worker = nursery.fork()
    assert descriptors_of(worker.pid)[:3] == [0, 1, 2]
    assert len(descriptors_of(worker.pid)) == 4
    assert worker.value("import os; os.readlink('/proc/self/fd/0')") == "/dev/null"
    # No worker holds another's: it ends when its supervisor closes it.
    for other in others:
        other.finish()
        assert other.end() == "exit 0"
        assert other.stdout.rest() == b""


def test_makes_each_worker_the_leader_of_a_session(nursery):
    worker = nursery.fork()
    pid = worker.pid
    assert worker.value("import os; [os.getpid(), os.getpgid(0), os.getsid(0)]") == [pid] * 3


def test_gives_workers_what_a_new_interpreter_has(nursery, start_directly):
    forked, direct = nursery.fork(), start_directly()
    for code in (
        DISPOSITIONS,
        "import gc; [gc.isenabled(), gc.get_threshold()]",
        "import sys; [sys.flags[:], sys.path[:1], sys.warnoptions, sys.argv]",
        "[sys.stdin.encoding, sys.stdout.encoding, sys.stdout.errors, sys.stdout.write_through]",
        "import signal; signal.set_wakeup_fd(-1)",
        "import threading; threading.active_count()",
    ):
        assert forked.value(code) == direct.value(code), code


def test_gives_workers_different_random_numbers(nursery):
    code = "import random, tempfile, uuid\n[random.random(), tempfile.mktemp(), str(uuid.uuid4())]"
    drawn = [nursery.fork().value(code) for _ in range(4)]
    for values in zip(*drawn, strict=True):
        assert len(set(values)) == len(values)


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import os; os._exit(7)", "exit 7"),
        ("import ctypes; ctypes.string_at(0)", f"signal {int(signal.SIGSEGV)}"),
        ("import os; os.abort()", f"signal {int(signal.SIGABRT)}"),
        ("import os, signal; os.kill(0, signal.SIGTERM)", f"signal {int(signal.SIGTERM)}"),
        ("import os; os.execv('/bin/sh', ['sh', '-c', 'exit 5'])", "exit 5"),
        ("import os; os.closerange(0, 1000); os._exit(3)", "exit 3"),
    ],
)
def test_tells_how_a_worker_ended(nursery, code, end):
    worker = nursery.fork()
    assert worker.call(code, mode="once") is None
    assert worker.end() == end
    assert nursery.fork().value("1") == 1


def test_survives_every_signal_of_its_workers(nursery):
    worker = nursery.fork()
    worker.value(f"import os\nfor n in {[int(n) for n in CATCHABLE]}: os.kill(os.getppid(), n)")
    if sys.platform != "win32":
        worker.value("import signal\nfor _ in range(10_000): os.kill(os.getppid(), signal.SIGCHLD)")
    assert nursery.fork().value("1") == 1
    worker.finish()
    assert worker.end() == "exit 0"
    assert nursery.process.poll() is None


@needs_proc
def test_ends_the_group_of_a_worker_that_has_ended(nursery):
    worker = nursery.fork()
    child = worker.value(
        "import subprocess, sys\n"
        "subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(1000)']).pid",
        mode="once",
    )
    assert worker.end() == "exit 0"
    wait_until(lambda: not is_alive(child))


@needs_proc
def test_ends_a_busy_worker_with_its_group(nursery):
    worker = nursery.fork()
    child = worker.value(
        "import os\nchild = os.fork()\nif child == 0:\n    while True: pass\nchild"
    )
    worker.send(request("while True: pass"))
    nursery.order(f"end {worker.pid}")
    assert worker.end() == "signal 9"
    wait_until(lambda: not is_alive(child))


def test_ends_a_worker_that_is_stopped_and_one_that_has_not_begun(nursery):
    worker = nursery.fork()
    os.kill(worker.pid, signal.SIGSTOP)
    nursery.order(f"end {worker.pid}")
    assert worker.end() == "signal 9"
    worker = nursery.fork()
    nursery.order(f"end {worker.pid}")
    assert worker.end() == "signal 9"


def test_ends_nobody_but_its_workers(nursery):
    with stranger() as process:
        worker = nursery.fork()
        for pid in (process.pid, os.getpid(), 0, 1, -1, nursery.process.pid):
            nursery.order(f"end {pid}")
        worker.finish()
        assert worker.end() == "exit 0"
        nursery.order(f"end {worker.pid}")
        assert nursery.fork().value("1") == 1


def test_reads_orders_in_any_pieces(nursery):
    worker = nursery.fork()
    for piece in ("en", "d 0\nend ", f"{worker.pid}"):
        nursery.write(piece.encode())
    nursery.order("")
    assert worker.end() == "signal 9"


def test_says_when_descriptors_are_missing_and_goes_on(nursery):
    nursery.order("fork")
    assert nursery.line() == "failed The descriptors did not arrive"
    reader, writer = os.pipe()
    nursery.order("fork", writer)
    os.close(writer)
    assert nursery.line() == "failed The descriptors did not arrive"
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert nursery.fork().value("1") == 1


def test_says_when_it_cannot_fork_and_goes_on(stack):
    nursery = Nursery(
        stack,
        "import os\nfork = os.fork\n"
        "def failing():\n    os.fork = fork\n    raise BlockingIOError(11, 'Too many')\n"
        "os.fork = failing",
    )
    reader, writer = os.pipe()
    nursery.order("fork", writer, writer, writer)
    os.close(writer)
    assert nursery.line() == "failed [Errno 11] Too many"
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert nursery.fork().value("1") == 1


def test_leaves_with_its_supervisor(nursery):
    worker = nursery.fork()
    assert nursery.leave() == 0
    assert worker.value("1") == 1
    worker.finish()
    assert worker.receive() is None


def test_leaves_quietly_when_the_supervisor_is_gone_at_once(nursery):
    for _ in range(20):
        nursery.order("fork")
    assert nursery.leave() == 0
    assert nursery.process.stderr.read() == b""


@needs_proc
def test_is_small(nursery):
    nursery.fork().value("1")
    status = Path(f"/proc/{nursery.process.pid}/status").read_text()
    resident = int(status.partition("VmRSS:")[2].split()[0])
    assert resident < 20_000


@needs_proc
def test_becomes_warm_while_it_waits(nursery):
    def has_all():
        worker = nursery.fork()
        loaded = worker.value("import sys; sorted(sys.modules)", mode="once")
        assert worker.end() == "exit 0"
        return {"msgpack", "traceback", "json", "linecache"} <= set(loaded)

    wait_until(has_all)


class Kernel:
    """What `select.kqueue` is on macOS, for systems that have none."""

    def __init__(self):
        self.watched = []
        self.gone = []
        self.events = []

    def control(self, changes, most, timeout=None):
        assert most == 0 or timeout == 0
        for pid in changes or []:
            if pid in self.gone:
                raise ProcessLookupError
            self.watched.append(pid)
        told, self.events = self.events[:most], self.events[most:]
        return told

    def close(self):
        raise OSError


class Event:
    def __init__(self, ident):
        self.ident = ident


def test_hears_of_ends_from_a_queue_of_the_kernel(monkeypatch):
    kernel = Kernel()
    for name in ("KQ_FILTER_PROC", "KQ_EV_ADD", "KQ_EV_ONESHOT", "KQ_NOTE_EXIT"):
        monkeypatch.setattr(select, name, 1, raising=False)
    monkeypatch.setattr(select, "kqueue", lambda: kernel, raising=False)
    monkeypatch.setattr(select, "kevent", lambda pid, *_: pid, raising=False)
    queue = children.Queue()
    kernel.gone = [8]
    queue.add(7)
    queue.add(8)
    assert kernel.watched == [7]
    assert queue.next() == 8
    assert queue.next() is None
    kernel.events = [Event(7), Event(9)]
    assert {queue.next(), queue.next()} == {7, 9}
    assert queue.next() is None
    queue.close()


def test_reaps_children_that_a_queue_tells_of(monkeypatch):
    class Told:
        def __init__(self):
            self.ended = []

        def add(self, child):
            self.ended.append(child)

        def next(self):
            return self.ended.pop() if self.ended else None

    monkeypatch.delattr(os, "waitid", raising=False)
    monkeypatch.setattr(children, "Queue", Told)
    told = []
    with subprocess.Popen(["/bin/sh", "-c", "exit 6"], start_new_session=True) as process:
        living = children.Children()
        living.add(process.pid)
        living.bury(told.append)
        process.returncode = 0
    assert told in ([f"exit {process.pid} 6"], [f"signal {process.pid} 9"])
