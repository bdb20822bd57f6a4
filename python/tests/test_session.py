"""A worker of a session: one `__main__`, many calls."""

import json
import sys

import pytest
from support import request

MANY_CALLS = 20_000


@pytest.fixture
def session(start):
    return start()


def test_keeps_what_calls_leave(session):
    assert session.value("x = 1; import os\ndef f(): return x + 1") is None
    assert session.value("x = 10; f()") == 11
    assert session.value("import sys; [vars(sys.modules['__main__']) is globals(), __name__]") == [
        True,
        "__main__",
    ]
    assert session.failure("y")[1] == "NameError: name 'y' is not defined"
    assert session.value("os.path.basename('a/b')") == "b"


def test_forgets_what_belongs_to_one_call(session):
    assert session.value("_result = [upstream, __file__]", filename="a.py", upstream="1") == [
        1,
        "a.py",
    ]
    assert session.value("5") == 5
    assert session.value("x = 5") is None
    for name in ("upstream", "_result", "__file__"):
        kind, message, *_ = session.failure(name)
        assert (kind, message) == ("exception", f"NameError: name '{name}' is not defined")


def test_gives_each_call_its_arguments(session):
    assert session.value("import sys; sys.argv", "a", filename="b.py") == ["b.py", "a"]
    assert session.value("sys.argv") == ["-c"]


def test_shows_the_lines_of_earlier_calls(session):
    session.value("def f(x):\n    return 1 / x  # first")
    session.value("def g(x):\n    return f(x)  # second")
    _, message, traceback, _ = session.failure("\n\ng(0)  # third")
    assert message == "ZeroDivisionError: division by zero"
    lines = [line for line in traceback.splitlines() if line.strip(" ~^")]
    assert lines == [
        "Traceback (most recent call last):",
        '  File "ktx:code-3", line 3, in <module>',
        "    g(0)  # third",
        '  File "ktx:code-2", line 2, in g',
        "    return f(x)  # second",
        '  File "ktx:code", line 2, in f',
        "    return 1 / x  # first",
        message,
    ]


def test_lets_the_code_see_its_source(session):
    session.value("def f():\n    return 1\n")
    session.value("import inspect, linecache, traceback\ndef g(): 1 / 0")
    assert session.value("inspect.getsource(f)") == "def f():\n    return 1\n"
    session.value("try: g()\nexcept ZeroDivisionError: traceback.print_exc()")
    assert b"def g(): 1 / 0" in session.stderr.until(b"ZeroDivisionError: division by zero\n")
    session.value("linecache.clearcache()")
    assert "def g(): 1 / 0" in session.failure("g()")[2]


def test_shows_what_ran_and_not_what_a_file_holds(session, tmp_path):
    path = tmp_path / "x.py"
    path.write_text("something else\n")
    assert "    1 / 0\n" in session.failure("1 / 0", filename=str(path))[2]


def test_keeps_a_bounded_number_of_texts(session):
    session.value("def f(): 1 / 0")
    for number in range(62):
        session.value(f"{number}")
    assert "def f(): 1 / 0" in session.failure("f()")[2]
    traceback = session.failure("f()  # again")[2]
    assert 'File "ktx:code", line 1, in f' in traceback
    assert "def f(): 1 / 0" not in traceback
    session.value("import linecache")
    assert session.value("sum(name.startswith('ktx:') for name in linecache.cache)") <= 65


def test_goes_on_after_every_failure(session):
    assert session.failure("x = (")[0] == "syntax"
    assert session.failure("import sys; sys.exit(3)")[::3] == ("exit", "3")
    assert session.failure("sys.exit('why')")[::3] == ("exit", "1")
    assert session.stderr.until(b"\n") == b"why\n"
    assert session.value("_result = 4; sys.exit()") == 4
    assert session.failure("raise KeyboardInterrupt")[1] == "KeyboardInterrupt"
    assert session.failure("raise MemoryError")[0] == "memory"
    assert session.failure("object()")[0] == "unserializable"
    assert session.failure("def f(): f()\nf()")[1].startswith("RecursionError: ")
    assert session.value("1") == 1


def test_survives_running_out_of_memory(session):
    pytest.importorskip("resource", reason="no memory limits on this system")
    session.value("kept = 'kept'\nimport resource")
    kind, message, _, _ = session.failure(
        "def fill():\n"
        "    limit = 300 * 2 ** 20\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))\n"
        "    held = []\n    size = 2 ** 20\n    while True:\n"
        "        try:\n            held.append(bytes(size))\n"
        "        except MemoryError:\n            if size < 64: raise\n            size //= 2\n"
        "fill()"
    )
    assert (kind, message) == ("memory", "MemoryError")
    assert session.value("kept") == "kept"


def test_runs_no_code_where_there_is_no_such_directory(session, tmp_path):
    assert session.value("import os; os.getcwd()", cwd=tmp_path) == str(tmp_path)
    kind, message, traceback, _ = session.failure("x = 1", cwd=tmp_path / "gone")
    assert (kind, message[:18], traceback) == ("exception", "FileNotFoundError:", "")
    assert session.value("['x' in globals(), os.getcwd()]") == [False, str(tmp_path)]


def test_keeps_variables_of_the_environment(session):
    session.value("import os", env={"KTX_A": "1", "KTX_B": "2"})
    assert session.value("[os.environ['KTX_A'], os.environ['KTX_B']]", env={"KTX_B": "3"}) == [
        "1",
        "3",
    ]
    assert session.failure("1", env={"": "x"})[0] == "exception"


def test_finds_nothing_on_standard_input(session):
    assert session.value("import os, sys\n[sys.stdin.read(), os.read(0, 9).decode()]") == ["", ""]
    assert session.failure("input()")[1] == "EOFError: EOF when reading a line"


def test_writes_output_before_the_report(session):
    session.value("import sys\nsys.stdout = open(1, 'w', buffering=9999, closefd=False)")
    session.call("print('buffered')")
    assert not session.stdout.is_silent()
    assert session.stdout.take(9) == b"buffered\n"


def test_answers_without_waiting_for_threads(session):
    code = (
        "import threading\ngo = threading.Event()\nt = threading.Thread(target=go.wait)\nt.start()"
    )
    session.value(code)
    assert session.value("[t.is_alive(), go.set(), t.join(), t.is_alive()]") == [
        True,
        None,
        None,
        False,
    ]


def test_hears_nothing_of_children_that_the_code_forks(session):
    code = (
        "import os, sys\npid = os.fork()\nif pid == 0:\n    {}\n"
        "_result = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])"
    )
    assert session.value(code.format("1 / 0")) == 1
    assert session.stderr.until(b"division by zero\n").startswith(b"Traceback")
    assert session.value(code.format("sys.exit(7)")) == 7
    assert session.value("child = os.fork()\nif child == 0: _result = object()\n1") == 1
    assert session.value("os.waitpid(child, 0)[1]") == 0
    assert session.value("pid > 0") is True


def test_ends_as_a_script_does(session):
    session.value(
        "import atexit, threading, time\natexit.register(print, 'handler')\n"
        "class A:\n    def __del__(self): print('deleted')\na = A()\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()"
    )
    session.finish()
    assert session.receive() is None
    assert session.stdout.rest() == b"thread\nhandler\ndeleted\n"
    assert session.end() == "exit 0"


@pytest.mark.parametrize(
    ("code", "end"),
    [
        ("import os; os._exit(9)", "exit 9"),
        ("import ctypes; ctypes.string_at(0)", "signal 11"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "signal 9"),
        ("import os; os.abort()", "signal 6"),
    ],
)
def test_is_lost_with_its_process(session, code, end):
    assert session.call(code) is None
    assert session.end() == end


def test_ends_when_it_cannot_report(session):
    assert session.call("import os; os.closerange(3, 100)") is None
    assert session.end() == "exit 0"


def test_outlives_signal_handlers_that_raise_between_calls(session):
    session.value(
        "import signal\ncount = 0\n"
        "def handler(*_):\n    global count\n    count += 1\n    raise TimeoutError('late')\n"
        "signal.signal(signal.SIGALRM, handler)\nsignal.setitimer(signal.ITIMER_REAL, 0.02)"
    )
    shown = session.stderr.until(b"TimeoutError: late\n")
    assert b"raise TimeoutError('late')" in shown
    assert b"frames.py" not in shown
    assert session.value("count") == 1
    session.value("import os, threading\nthreading.Timer(0.02, os.kill, (os.getpid(), 2)).start()")
    assert b"KeyboardInterrupt" in session.stderr.until(b"KeyboardInterrupt\n")
    assert session.value("count") == 1


def test_answers_every_call_whenever_signal_handlers_raise(session):
    # Nobody reads here what it says of those that raise between calls.
    session.value("import os; os.dup2(os.open(os.devnull, os.O_WRONLY), 2)")
    session.value(
        "import random, signal\ndef handler(*_): raise TimeoutError('late')\n"
        "signal.signal(signal.SIGALRM, handler)"
    )
    soon = "signal.setitimer(signal.ITIMER_REAL, 1e-6 + random.random() * 1e-4)"
    for _ in range(500):
        assert session.call(soon)[0] in (b"value", b"exception")
    session.call("signal.setitimer(signal.ITIMER_REAL, 0)")
    assert session.value("3") == 3


def test_takes_requests_in_any_pieces_and_much_at_once(session):
    text = "ü" * 5_000_000
    assert session.value("len(upstream)", upstream=json.dumps(text)) == len(text)
    packed = session.call(
        "upstream * 2", upstream=b"\xc4\x02ab", upstream_form="msgpack", form="msgpack"
    )
    assert packed == [b"value", b"\xc4\x04abab"]
    requests = request("1") + request("2") + request("x = '" + "y" * 100_000 + "'; 3")
    for at in range(0, len(requests), 30_000):
        session.send(requests[at : at + 30_000])
    assert [session.receive()[1] for _ in range(3)] == [b"1", b"2", b"3"]


def test_does_not_grow_with_calls(session):
    if not sys.platform.startswith("linux"):
        pytest.skip("no count of a process's memory that is exact on this system")
    anonymous = (
        "_result = sum(int(line.split()[1]) for line in open('/proc/self/smaps_rollup')"
        " if line.startswith(('Anonymous:', 'Swap:')))"
    )
    session.failure("def f(x):\n    return 1 / x\nf(0)", form="msgpack")
    run(session, MANY_CALLS // 4)
    before = session.value(anonymous)
    run(session, MANY_CALLS)
    grown = session.value(anonymous) - before
    # Ten bytes for each call would be 200 kB; what fragments is more.
    assert grown < 1024, f"{grown} kB"


def run(session, calls):
    batch = 40
    for at in range(0, calls, batch):
        data = b"".join(
            request(
                f"def f(x):\n    return [x, {n}]\n_result = f(upstream)",
                form="msgpack",
                upstream=b"\xa5hello",
                upstream_form="msgpack",
            )
            for n in range(at, at + batch - 1)
        )
        session.send(data + request("f(1) / 0", form="msgpack"))
        for _ in range(batch):
            assert session.receive()


def test_spends_little_time_of_its_own(session):
    session.value("import time")
    run(session, 400)
    before = session.value("time.process_time()")
    for _ in range(50):
        session.send(request("1", form="msgpack") * 40)
        for _ in range(40):
            session.receive()
    spent = session.value("time.process_time()") - before
    # About 20 microseconds each; the bound is for slow and busy machines.
    assert spent / 2000 < 200e-6
