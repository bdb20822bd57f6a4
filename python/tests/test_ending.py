"""What code can observe of the end of its worker is what a script observes."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = {
    "destructors": (
        "class A:\n    def __init__(self, n): self.n = n\n    def __del__(self): print(self.n)\n"
        "a = A('global'); b = A('cycle'); b.b = b\n"
        "import json; json.kept = A('in a module of others')\n"
        "def f(kept=A('default')): pass"
    ),
    "handlers": (
        "import atexit, weakref, threading\nclass A: pass\na = A()\n"
        "weakref.finalize(a, print, 'finalizer')\n"
        "atexit.register(print, 'first'); atexit.register(lambda: 1 / 0)\n"
        "atexit.register(print, 'last')\n"
        "threading._register_atexit(print, 'threads')"
    ),
    "threads": (
        "import threading, time\n"
        "threading.Thread(target=lambda: (time.sleep(0.05), print('late'))).start()\n"
        "threading.Thread(target=time.sleep, args=[1000], daemon=True).start()"
    ),
    "pools": (
        "from concurrent.futures import ThreadPoolExecutor\nimport time\n"
        "ThreadPoolExecutor().submit(lambda: (time.sleep(0.05), print('done')))"
    ),
    "generators": ("def g():\n    try: yield\n    finally: print('finally')\nx = g(); next(x)"),
    "replaced output": (
        "import sys\nsys.stdout = open(1, 'w', buffering=9999, closefd=False)\nprint('buffered')"
    ),
    "exit status": "import sys\nprint('x')\nsys.exit(3)",
    "failure": "def f(): yield; print('no')\nx = f(); next(x)\n1 / 0",
    "exit in a handler": "import atexit, sys\natexit.register(sys.exit, 5)",
    "coroutines": "async def f(): pass\nx = f()",
    "unraisable": "class A:\n    def __del__(self): 1 / 0\na = A()",
}


# What a script says of its failure is in the report.
REPORTED = {"failure"}


@pytest.mark.parametrize("name", SCRIPTS)
def test_looks_like_the_end_of_a_script(start, name):
    code = f"{SCRIPTS[name]}\nNone"
    script = subprocess.run(
        [sys.executable, "-I", "-u", "-X", "utf8", "-c", code],
        capture_output=True,
        check=False,
        timeout=30,
    )
    worker = start()
    assert worker.call(code, mode="once") is not None
    assert worker.end() == f"exit {script.returncode}"
    assert sorted(worker.stdout.rest().split(b"\n")) == sorted(script.stdout.split(b"\n"))
    said = script.stderr.rstrip().rpartition(b"\n")[2]
    if name not in REPORTED:
        assert said.rpartition(b": ")[2] in worker.stderr.rest()


def test_keeps_what_was_written_to_files(start, tmp_path):
    worker = start()
    module = tmp_path / "module_of_user.py"
    module.write_text(
        "file = open('module.txt', 'w'); file.write('a')\ncycle = [file]; cycle.append(cycle)"
    )
    worker.call(
        "import os, sys; sys.path.append(os.getcwd()); import module_of_user\n"
        "file = open('main.txt', 'w'); file.write('b')\ndef f(): return file",
        mode="once",
        cwd=tmp_path,
    )
    assert worker.end() == "exit 0"
    assert [Path(tmp_path, name).read_text() for name in ("module.txt", "main.txt")] == ["a", "b"]


def test_runs_the_exit_handlers_of_libraries(start):
    if not sys.platform.startswith("linux"):
        pytest.skip("no `on_exit` on this system")
    worker = start()
    code = "import ctypes\nlibc = ctypes.CDLL(None)\nhasattr(libc, 'on_exit') and"
    (word, value) = worker.call(f"{code} libc.on_exit(libc.abort, None)", mode="once")
    if value == b"false":
        pytest.skip("no `on_exit` in this system's C library")
    assert (word, worker.end()) == (b"value", "signal 6")
