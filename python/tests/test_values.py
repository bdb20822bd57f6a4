"""Values as JSON text."""

import collections
import decimal
import enum
import json
import math
import sys
import types

import pytest
from support import few_frames_left

from ktx_daemon.values import MAX_DEPTH, UnserializableError, encode


class Level(enum.IntEnum):
    LOW = 1


class Word(str):
    __slots__ = ()


Point = collections.namedtuple("Point", "x y")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (0.1, 0.1),
        (-0.0, -0.0),
        (1e300, 1e300),
        (2**64 + 1, 2**64 + 1),
        (Level.LOW, 1),
        (Word("w"), "w"),
        ('ü\n\0"\\', 'ü\n\0"\\'),
        ((1, [2.5], {"k": ()}), [1, [2.5], {"k": []}]),
        (Point(1, 2), [1, 2]),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.Counter("aa"), {"a": 2}),
    ],
)
def test_reads_back_as_what_the_table_says(value, expected):
    text = encode(value)
    assert text.isascii()
    assert json.loads(text) == expected
    assert type(json.loads(text)) is type(expected)


def test_writes_long_integers_exactly_and_restores_the_limit():
    limit = getattr(sys, "get_int_max_str_digits", lambda: None)()
    assert encode(10**5000) == f"1{'0' * 5000}"
    assert getattr(sys, "get_int_max_str_digits", lambda: None)() == limit


def test_keeps_lone_surrogates():
    assert encode(["\ud800", "\udcff", "😀"]) == '["\\ud800","\\udcff","\\ud83d\\ude00"]'


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"x", "value is of type bytes, which has no JSON form"),
        ({1, 2}, "value is of type set, which has no JSON form"),
        (1j, "value is of type complex, which has no JSON form"),
        (decimal.Decimal(1), "value is of type decimal.Decimal, which has no JSON form"),
        ([{"k": [0, b"x"]}], "value[0]['k'][1] is of type bytes, which has no JSON form"),
        ({"a": {None: 1}}, "value['a'] has a key of type NoneType, and a key in JSON is a string"),
        ({True: 1}, "value has a key of type bool, and a key in JSON is a string"),
        ([math.inf], "value[0] is inf, which has no JSON form"),
        ({"x": (-math.inf,)}, "value['x'][0] is -inf, which has no JSON form"),
        (math.nan, "value is nan, which has no JSON form"),
    ],
)
def test_says_which_type_and_where(value, message):
    with pytest.raises(UnserializableError) as raised:
        encode(value)
    assert str(raised.value) == message


def test_refuses_what_contains_itself_and_allows_what_is_shared():
    inner = {"k": []}
    assert encode([inner, inner]) == '[{"k":[]},{"k":[]}]'
    inner["k"].append(inner)
    with pytest.raises(UnserializableError, match=r"^value\['k'\]\[0\] is a dict that contains"):
        encode(inner)


def nested(levels):
    value = []
    for _ in range(levels - 1):
        value = [value]
    return value


def test_stops_at_a_depth_that_readers_accept():
    assert json.loads(encode(nested(MAX_DEPTH))) == nested(MAX_DEPTH)
    with pytest.raises(UnserializableError, match=r"more than 120 levels deep$"):
        encode(nested(MAX_DEPTH + 1))


def test_is_no_victim_of_a_low_recursion_limit():
    value = nested(100)
    with few_frames_left(), pytest.raises(UnserializableError, match=r"levels deep$"):
        encode(value)


class Generic:
    """The shape of a numpy scalar, for an environment without numpy."""

    dtype = types.SimpleNamespace(fields=None, base=types.SimpleNamespace(kind="f"))

    def __init__(self, item):
        self._item = item

    def item(self):
        return self if self._item is None else self._item


class Array:
    """The shape of a numpy array."""

    dtype = Generic.dtype

    def tolist(self):
        return [[1, 2], [3, math.nan]]


def test_takes_numpy_values_for_what_they_hold(monkeypatch):
    module = types.SimpleNamespace(generic=Generic, ndarray=Array)
    monkeypatch.setitem(sys.modules, "numpy", module)
    assert encode({"n": Generic(3)}) == '{"n":3}'
    with pytest.raises(UnserializableError, match=r"^value\[1\]\[1\] is nan"):
        encode(Array())
    with pytest.raises(UnserializableError, match="is of type"):
        encode(Generic(None))


def test_ignores_another_module_that_is_called_numpy(monkeypatch):
    monkeypatch.setitem(sys.modules, "numpy", types.ModuleType("numpy"))
    with pytest.raises(UnserializableError, match="is of type object"):
        encode(object())
