"""Source text, compiled once for both its effects and its value."""

import inspect
import linecache

import pytest

from ktx_daemon.source import LAST_VALUE, SourceLoader, prepare


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


def test_gives_linecache_and_inspect_the_text():
    text = "def f():\n    return 1\n"
    namespace = run(text, __loader__=SourceLoader(text))
    assert linecache.lazycache("test:code", namespace)
    assert linecache.getline("test:code", 2) == "    return 1\n"
    assert inspect.getsource(namespace["f"]) == text
    linecache.clearcache()
