"""Source text, compiled once for both its effects and its value."""

import inspect
import linecache

import pytest

from ktx_daemon.source import LAST_VALUE, MAX_TEXTS, MAX_TEXTS_SIZE, Sources, prepare


def run(text, **names):
    namespace = {"__name__": "__main__", **names}
    exec(prepare(text, "test:code"), namespace)
    return namespace


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1", 1),
        ("x = 2\nx + 1", 3),
        ("1\n2; 3", 3),
        ("'text'", "text"),
        ("(lambda: 5)()", 5),
        ("\ufeff7", 7),
        ("# -*- coding: latin-1 -*-\n'ü'", "ü"),
        ("[y := 3, y][1]  # comment\n\n", 3),
    ],
)
def test_keeps_the_last_expression(text, expected):
    assert run(text)[LAST_VALUE] == expected


@pytest.mark.parametrize(
    "text", ["", "x = 1", "1\nx = 2", "if True:\n    5", "def f(): 3", "1\npass"]
)
def test_has_no_value_without_a_last_expression(text):
    assert LAST_VALUE not in run(text)


def test_runs_once_and_in_order():
    log = []
    run("log.append(1)\nlog.append(2)\nlog.append(3)", log=log)
    assert log == [1, 2, 3]


def test_holds_future_imports_for_all_of_it():
    text = '"""Doc."""\nfrom __future__ import annotations\ndef f(x: missing): pass\nf'
    namespace = run(text)
    assert namespace["__doc__"] == "Doc."
    assert namespace[LAST_VALUE].__annotations__ == {"x": "missing"}


def test_does_not_inherit_the_future_imports_of_this_package():
    assert run("def f(x: 1 + 1): pass\nf")[LAST_VALUE].__annotations__ == {"x": 2}


def test_keeps_line_numbers():
    with pytest.raises(ZeroDivisionError) as raised:
        run("x = 0\n\n(\n  1\n  / x)")
    assert raised.traceback[-1].lineno + 1 == 4


@pytest.mark.parametrize("text", ["x = (", "return 1", "await x", " 1", "a\0b", "'\ud800'"])
def test_leaves_errors_to_the_caller(text):
    with pytest.raises((SyntaxError, ValueError)):
        prepare(text, "test:code")


@pytest.fixture
def sources():
    yield Sources()
    linecache.clearcache()


def test_names_the_texts_of_calls(sources):
    calls = [("1", ""), ("2", "a.py"), ("3", ""), ("4", "a.py")]
    names = [sources.add(text, name) for text, name in calls]
    assert names == ["ktx:code", "a.py", "ktx:code-3", "a.py"]


def test_compiles_a_text_that_comes_again_once(sources):
    first = sources.add("1 + 1", "")
    code = sources.compiled(first)
    sources.add("2", "")
    assert sources.add("1 + 1", "") == first
    assert sources.compiled(first) is code
    assert sources.add("1 + 1", "a.py") == "a.py"
    for number in range(MAX_TEXTS):
        sources.add(f"{number}, {number}", "")
    assert sources.add("1 + 1", "") != first


def test_gives_linecache_and_inspect_the_text(sources):
    text = "def f():\n    return 1\n"
    sources.add(text, "test:code")
    linecache.clearcache()
    namespace = run(text, __loader__=sources)
    assert linecache.lazycache("test:code", namespace)
    assert linecache.getline("test:code", 2) == "    return 1\n"
    assert inspect.getsource(namespace["f"]) == text


def test_gives_no_other_text_for_one_that_is_gone(sources):
    sources.add("first", "test:code")
    sources.add("second", "test:code-2")
    assert sources.get_source("__main__") is None


def test_counts_lines_as_the_interpreter_does(sources):
    text = "\ufeff'\x0c\u2028'\r\n2\r3\n"
    sources.add(text, "test:code")
    assert linecache.getlines("test:code")[1:3] == ["2\n", "3\n"]


def test_bounds_what_is_kept_of_long_texts(sources):
    half = "#" * (MAX_TEXTS_SIZE // 2)
    for number in range(3):
        sources.add(half, f"test:{number}")
    assert [bool(linecache.getlines(f"test:{number}")) for number in range(3)] == [
        False,
        True,
        True,
    ]
    sources.add(half * 3, "test:3")
    assert [bool(linecache.getlines(f"test:{number}")) for number in (2, 3)] == [False, True]
