"""The worker as its supervisor drives it: a request, a channel, an end."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE_ROOT = Path(__file__).parent.parent
PROGRAM = (
    f"import sys; sys.path.append({str(PACKAGE_ROOT)!r})\n"
    "from ktx_daemon.worker import main; main()"
)

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="the channel is a descriptor here and a handle there"
)


def call(code, *args, form="json", filename="", upstream=""):
    reader, writer = os.pipe()
    fields = [str(writer), form, filename, upstream, code, *args]
    encoded = [field.encode() for field in fields]
    request = b"%d\n" % len(encoded) + b"".join(b"%d\n%b" % (len(f), f) for f in encoded)
    with open(reader, "rb") as channel:
        done = subprocess.run(
            [sys.executable, "-I", "-u", "-X", "utf8", "-c", PROGRAM],
            input=request,
            pass_fds=[writer],
            capture_output=True,
            timeout=30,
            check=False,
        )
        os.close(writer)
        started, *reports = channel.read().splitlines()
    assert started == b"started"
    assert len(reports) == 1
    return json.loads(reports[0]), done


def test_reports_a_value():
    report, done = call("print('a'); 6 * 7")
    assert report == {"value": 42, "error": None}
    assert (done.stdout, done.returncode) == (b"a\n", 0)


def test_does_not_show_itself_in_tracebacks():
    report, _ = call("def f():\n    raise ValueError('no')\ntry:\n    f()\nfinally:\n    1 / 0")
    traceback = report["error"]["traceback"]
    assert report["error"]["message"] == "ZeroDivisionError: division by zero"
    assert "ValueError: no" in traceback
    assert "    raise ValueError('no')\n" in traceback
    assert "worker.py" not in traceback


def test_reports_for_code_that_breaks_the_interpreter():
    break_it = "import sys; sys.modules.clear(); sys.stdout = sys.stderr = None\n"
    report, _ = call(f"{break_it}5")
    assert report == {"value": 5, "error": None}
    report, _ = call(f"{break_it}sys.path.clear()\n1 / 0")
    assert report["error"]["kind"] == "exception"
    assert report["error"]["message"].startswith("ZeroDivisionError")


def test_frees_the_memory_that_the_error_needs():
    resource = pytest.importorskip("resource", reason="no memory limits on this system")
    limit = 256 * 1024 * 1024
    code = (
        f"import resource\nresource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
        "kept = []\nsize = 2 ** 20\nwhile True:\n"
        "    try:\n        kept.append(bytes(size))\n"
        "    except MemoryError:\n        if size < 64: raise\n        size //= 2\n"
    )
    del resource
    report, _ = call(code)
    assert report["error"]["kind"] == "memory"
    assert report["error"]["message"] == "MemoryError"


def test_says_what_is_wrong_with_upstream():
    report, _ = call("upstream", upstream=f"1{'0' * 5000}")
    if hasattr(sys, "get_int_max_str_digits"):
        assert report["error"]["message"].startswith("upstream cannot be read: ")
    report, _ = call("upstream", upstream='{"a": [1, "\\u00fc"]}')
    assert report["value"] == {"a": [1, "ü"]}


def test_keeps_surrogates_out_of_messages():
    report, _ = call("raise ValueError('\\ud800')")
    assert report["error"]["message"] == "ValueError: \\ud800"


def test_reports_a_failing_repr_and_a_changing_container():
    report, _ = call("class A:\n    def __repr__(self): raise KeyError\nA()", form="repr")
    assert report["error"]["kind"] == "exception"
    code = "class D(dict):\n    def items(self): raise KeyError('x')\nD()"
    report, _ = call(code)
    assert report["error"]["message"] == "KeyError: 'x'"
    assert "ktx_daemon" not in report["error"]["traceback"]


def test_exits_as_a_script_does():
    report, done = call("import sys; sys.exit('why')")
    assert report["error"]["message"] == "Python exited with status 1"
    assert done.stderr == b"why\n"
    report, _ = call("import sys; _result = 4; sys.exit(False)")
    assert report == {"value": 4, "error": None}


def test_loads_little():
    report, _ = call("import sys; sorted(sys.modules)")
    assert not {"ast", "json", "re", "traceback", "typing", "threading"} & set(report["value"])
