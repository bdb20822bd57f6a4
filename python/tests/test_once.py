"""A worker for one call: the code is a script, and the report is its last act."""

import json
import sys

import pytest


@pytest.fixture
def call(start):
    """Run one call; return its report and the worker."""

    def call(code, *args, **fields):
        worker = start()
        report = worker.call(code, *args, mode="once", **fields)
        assert worker.receive() is None
        return report, worker

    return call


@pytest.fixture
def value(call):
    def value(code, *args, **fields):
        (word, value), _ = call(code, *args, **fields)
        assert word == b"value"
        return json.loads(value)

    return value


@pytest.fixture
def failure(call):
    def failure(code, *args, **fields):
        (kind, *texts), worker = call(code, *args, **fields)
        assert kind != b"value"
        return kind.decode(), *(text.decode() for text in texts), worker

    return failure


def test_reports_a_value(call):
    report, worker = call("print('a'); 6 * 7")
    assert report == [b"value", b"42"]
    assert worker.stdout.rest() == b"a\n"
    assert worker.end() == "exit 0"


def test_is_main_with_its_arguments_and_file(value):
    code = (
        "import sys\n"
        "[__name__, sys.argv, __file__, sys.modules['__main__'].__dict__ is globals(),\n"
        " sys.stdin.read()]"
    )
    assert value(code, "a b", "", "ü", filename="some/x.py") == [
        "__main__",
        ["some/x.py", "a b", "", "ü"],
        "some/x.py",
        True,
        "",
    ]
    assert value("import sys\n[sys.argv, '__file__' in globals()]") == [["-c"], False]


def test_does_not_show_itself_in_tracebacks(failure):
    kind, message, traceback, status, worker = failure(
        "def f():\n    raise ValueError('no')\ntry:\n    f()\nfinally:\n    1 / 0"
    )
    assert (kind, message, status) == ("exception", "ZeroDivisionError: division by zero", "")
    assert "ValueError: no" in traceback
    assert "    raise ValueError('no')\n" in traceback
    assert 'File "ktx:code", line 6' in traceback
    assert "worker.py" not in traceback
    assert worker.end() == "exit 1"


def test_tells_a_text_that_does_not_compile(failure):
    kind, message, traceback, _, _ = failure("x = 1\nx = (")
    assert (kind, message[:12]) == ("syntax", "SyntaxError:")
    assert 'File "ktx:code", line 2\n    x = (\n' in traceback


def test_reports_for_code_that_breaks_the_interpreter(value, failure):
    break_it = "import sys; sys.modules.clear(); sys.stdout = sys.stderr = None\n"
    assert value(f"{break_it}5") == 5
    kind, message, *_ = failure(f"{break_it}sys.path.clear()\n1 / 0")
    assert kind == "exception"
    assert message.startswith("ZeroDivisionError")


def test_frees_the_memory_that_the_error_needs(failure):
    pytest.importorskip("resource", reason="no memory limits on this system")
    limit = 256 * 1024 * 1024
    kind, message, *_ = failure(
        f"import resource\nresource.setrlimit(resource.RLIMIT_AS, ({limit}, {limit}))\n"
        "kept = []\nsize = 2 ** 20\nwhile True:\n"
        "    try:\n        kept.append(bytes(size))\n"
        "    except MemoryError:\n        if size < 64: raise\n        size //= 2\n"
    )
    assert (kind, message) == ("memory", "MemoryError")


def test_reads_upstream_in_both_forms(value, failure):
    assert value("upstream", upstream='{"a": [1, "\\u00fc"]}') == {"a": [1, "ü"]}
    assert value("upstream", upstream="null") is None
    assert value("upstream", upstream=b"\x92\xc3\xa1a", upstream_form="msgpack") == [True, "a"]
    assert failure("upstream")[1] == "NameError: name 'upstream' is not defined"


@pytest.mark.parametrize(
    ("form", "upstream"),
    [("msgpack", b""), ("msgpack", b"\x92\xc3"), ("msgpack", b"\xc1"), ("json", b"[" * 100_000)],
)
def test_says_what_is_wrong_with_upstream(failure, form, upstream):
    kind, message, *_ = failure("print('ran')", upstream=upstream, upstream_form=form)
    assert kind == "exception"
    assert message.startswith("upstream cannot be read: ")
    assert not message.endswith(": ")


def test_gives_the_forms_that_are_asked_for(call):
    assert call("'a'", form="json")[0] == [b"value", b'"a"']
    assert call("'a'", form="msgpack")[0] == [b"value", b"\xa1a"]
    assert call("'a'", form="repr")[0] == [b"value", b"\"'a'\""]
    assert call("None", form="repr")[0] == [b"value", b"null"]
    assert call("'a'; _result = 2; 3", form="json")[0] == [b"value", b"2"]


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_names_what_has_no_form(failure, form):
    kind, message, traceback, *_ = failure("[{'a': 1j}]", form=form)
    assert kind == "unserializable"
    assert message == f"value[0]['a'] is of type complex, which has no {_name(form)} form"
    assert traceback == ""


def _name(form):
    return {"json": "JSON"}.get(form, form)


def test_keeps_surrogates_out_of_messages(failure):
    assert failure("raise ValueError('\\ud800')")[1] == "ValueError: \\ud800"


@pytest.mark.parametrize("form", ["json", "msgpack"])
def test_reports_a_failing_container(failure, form):
    code = "class D(dict):\n    def items(self): raise KeyError('x')\nD(a=1)"
    kind, message, traceback, *_ = failure(code, form=form)
    assert (kind, message) == ("exception", "KeyError: 'x'")
    assert "ktx_daemon" not in traceback.partition("line 2, in items")[2]


def test_reports_a_failing_repr(failure):
    code = "class A:\n    def __repr__(self): raise KeyError\nA()"
    assert failure(code, form="repr")[0] == "exception"


def test_exits_as_a_script_does(call, failure, value):
    kind, message, traceback, status, worker = failure("import sys; sys.exit('why')")
    assert (kind, message) == ("exit", "Python exited with status 1")
    assert (traceback, status, worker.end()) == ("", "1", "exit 1")
    assert worker.stderr.rest() == b"why\n"
    *_, status, worker = failure("import sys; sys.exit(300)")
    assert (status, worker.end()) == ("44", "exit 44")
    assert value("import sys; _result = 4; sys.exit(False)") == 4
    (word, _), worker = call("import sys; sys.exit()")
    assert (word, worker.end()) == (b"value", "exit 0")


def test_reports_after_threads_and_exit_handlers(call):
    report, worker = call(
        "import atexit, threading, time\n"
        "atexit.register(print, 'handler')\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n"
        "'value'"
    )
    assert report == [b"value", b'"value"']
    assert worker.stdout.rest() == b"thread\nhandler\n"


def test_reports_once_when_the_code_forks(call):
    report, worker = call(
        "import os\npid = os.fork()\nif pid == 0:\n    1 / 0\nos.waitpid(pid, 0)[1] >> 8"
    )
    assert report == [b"value", b"1"]
    assert worker.stderr.rest().endswith(b"ZeroDivisionError: division by zero\n")


def test_does_not_run_code_where_there_is_no_such_directory(failure, tmp_path):
    kind, message, traceback, _, worker = failure("print('ran')", cwd=tmp_path / "gone")
    assert (kind, traceback) == ("exception", "")
    assert message.startswith("FileNotFoundError: [Errno 2] No such file or directory: ")
    assert worker.stdout.rest() == b""


def test_sets_directory_and_variables(value, tmp_path):
    code = "import os, time\n[os.getcwd(), os.environ['A'], os.environ['B'], time.tzname[0]]"
    env = {"A": "x=y", "B": "", "TZ": "XYZ-3"}
    assert value(code, cwd=tmp_path, env=env) == [str(tmp_path), "x=y", "", "XYZ"]


def test_ends_quietly_without_a_request(start):
    worker = start()
    worker.finish()
    assert worker.receive() is None
    assert worker.end() == "exit 0"
    assert worker.stderr.rest() == b""


def test_takes_and_gives_much(call):
    text = "x" * 10_000_000
    report, _ = call("upstream + 'y'", upstream=json.dumps(text), form="json")
    assert report == [b"value", json.dumps(text + "y").encode()]


def test_loads_little(start_directly):
    worker = start_directly()
    loaded = set(worker.value("import sys; sorted(sys.modules)", mode="once"))
    assert not {"ast", "json", "re", "traceback", "typing", "threading", "msgpack"} & loaded
    assert "socket" not in loaded


def test_keeps_its_descriptors_from_other_programs(value):
    if not sys.platform.startswith("linux"):
        pytest.skip("no list of open descriptors on this system")
    code = "import subprocess\nsubprocess.check_output(['ls', '/proc/self/fd'], close_fds=False)"
    listed = value(f"{code}.decode().split()")
    # 3 is the directory that `ls` reads.
    assert listed == ["0", "1", "2", "3"]
