"""Code that takes all the memory that it may have."""

import sys

import pytest

from ktx_daemon import worker as worker_module

if not sys.platform.startswith("linux"):
    pytest.skip("no memory limits on this system", allow_module_level=True)

MEBIBYTE = 1 << 20
LIMIT = 40 * MEBIBYTE
FILL = "    while True: kept.append([kept])\n"

EXHAUSTING = {
    "a list in itself": f"kept = []\nif True:\n{FILL}",
    "a function's variables": f"def f():\n    kept = []\n{FILL}f()",
    "small objects": "kept = []\nwhile True: kept.append([])",
    "deep nesting": "kept = []\nwhile True: kept = [kept]",
    "objects in cycles": (
        "class Loop: pass\nkept = []\nwhile True:\n"
        "    loop = Loop(); loop.loop = loop; kept.append(loop)"
    ),
    "a growing block": "kept = b'x'\nwhile True: kept = kept + kept",
    "inside a handler": f"kept = []\ntry:\n    1 / 0\nexcept ZeroDivisionError:\n{FILL}",
    "again, at the end": f"kept = []\ntry:\n{FILL}finally:\n{FILL}",
    "frames": (
        "import sys\nsys.setrecursionlimit(10 ** 6)\n"
        "def f(n):\n    kept = [n] * 1000\n    return f(n + 1) + kept[0]\nf(0)"
    ),
    "a value that there is no second one of": f"'x' * {LIMIT // 8 * 5}",
    "compiling": f"compile('x\\n' * {MEBIBYTE}, 'x', 'exec')",
}


def limit(code, size=LIMIT):
    return f"import resource\nresource.setrlimit(resource.RLIMIT_DATA, ({size}, {size}))\n{code}"


@pytest.fixture(params=["once", "session"])
def mode(request):
    return request.param


@pytest.mark.parametrize("code", EXHAUSTING.values(), ids=EXHAUSTING)
def test_is_told_as_such(start, mode, code):
    if "recursion" in code and sys.version_info < (3, 11):
        pytest.skip("this interpreter aborts when it has no memory for a frame")
    kind, message, *_ = start().failure(limit(code), mode=mode)
    assert kind == "memory"
    assert message in ("MemoryError", "SystemError: error return without exception set")


def test_is_told_of_a_text_that_fills_it(start, mode):
    worker = start()
    if mode == "session":
        worker.value(limit("0"))
        code = "x = 1\n" * MEBIBYTE
        assert worker.failure(code)[:2] == ("memory", "MemoryError")
    else:
        code = limit("x = 1\n") + "x = 1\n" * 1000
        assert worker.call(code, mode=mode) == [b"value", b"null"]


@pytest.mark.parametrize("text", ["-" * 20_000 + "1", "not " * 20_000 + "1"])
def test_is_not_blamed_for_texts_that_are_nested_too_deeply(start, mode, text):
    assert start().failure(text, mode=mode)[0] == "syntax"


@pytest.mark.parametrize(
    ("code", "kind", "message"),
    [
        (
            f"kept = []\ntry:\n{FILL}except MemoryError:\n    kept.clear()\nraise KeyError(1)",
            "exception",
            "KeyError: 1",
        ),
        ("raise KeyError(1) from MemoryError()", "exception", "KeyError: 1"),
        (f"kept = []\ntry:\n{FILL}except MemoryError:\n    kept.clear()\nexit(3)", "exit", ""),
        ("class Own(MemoryError): pass\nraise Own('why')", "memory", "Own: why"),
    ],
)
def test_is_told_apart_from_what_the_code_raises_after_it(start, mode, code, kind, message):
    told = start().failure(limit(f"from sys import exit\n{code}"), mode=mode)
    assert (told[0], told[1] if message else "") == (kind, message)


@pytest.mark.parametrize("kind", ["MemoryError", "KeyError"])
def test_is_told_by_what_was_raised_and_not_by_how_it_reads(start, mode, kind):
    code = f"class Odd({kind}):\n    def __str__(self): raise MemoryError\nraise Odd"
    told, message, *_ = start().failure(code, mode=mode)
    assert told == ("memory" if kind == "MemoryError" else "exception")
    assert message.startswith("Odd")


@pytest.mark.parametrize("when", ["atexit.register", "in_thread"])
def test_does_not_take_the_value_with_it(start, when):
    code = (
        "import atexit, threading\ndef in_thread(f): threading.Thread(target=f).start()\n"
        f"kept = []\n@{when}\ndef fill():\n{FILL}'value'"
    )
    worker = start()
    assert worker.call(limit(code), mode="once") == [b"value", b'"value"']
    assert worker.receive() is None


def test_leaves_a_session_what_it_has(start):
    worker = start()
    assert worker.failure(limit(f"mark = 1\nkept = []\nif True:\n{FILL}"))[0] == "memory"
    assert worker.value("[mark, len(kept) > 1000]") == [1, True]
    assert worker.value("kept.clear(); mark") == 1
    for _ in range(3):
        assert worker.failure(f"def f():\n    kept = []\n{FILL}f()")[0] == "memory"
    assert worker.value(f"len(bytes({LIMIT // 2}))") == LIMIT // 2


def test_ends_a_session_that_keeps_all_of_it(start):
    worker = start()
    code = f"if True:\n{FILL}"
    assert worker.failure(limit(f"kept = []\n{code}"))[0] == "memory"
    told = []
    while (report := worker.call(code)) is not None and len(told) < 20:
        told.append(report[0])
    assert set(told) <= {b"memory"}


@pytest.mark.parametrize(
    "function",
    [
        worker_module.Calls.run,
        worker_module.Calls._execute,
        worker_module.Calls._raised,
        worker_module.Report.send,
        worker_module._serve_call,
        worker_module._serve_session,
        worker_module._alternate,
    ],
)
def test_finds_handlers_at_places_that_are_integers_already(function):
    largest_ready_integer = 256
    assert len(function.__code__.co_code) // 2 <= largest_ready_integer
