"""Values as MessagePack, and back."""

import collections
import dataclasses
import datetime as dt
import decimal
import enum
import itertools
import math
import os
import random
import time

import msgpack
import pytest
from support import few_frames_left

from ktx_daemon.packed import pack, unpack
from ktx_daemon.values import MAX_DEPTH, UnserializableError

UTC = dt.timezone.utc


class Level(enum.IntEnum):
    LOW = 1


class Word(str):
    __slots__ = ()

    def __str__(self):
        return "other"


class Number(int):
    def __gt__(self, other):
        raise AssertionError

    def __int__(self):
        return 0


class Color(str, enum.Enum):
    RED = "red"


Point = collections.namedtuple("Point", "x y")


@dataclasses.dataclass
class Data:
    x: int = 1


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        127,
        128,
        -32,
        -33,
        2**63,
        2**64 - 1,
        -(2**63),
        0.1,
        -0.0,
        math.inf,
        -math.inf,
        "",
        "ü\0😀",
        b"",
        b"\xff" * 300,
        [],
        [1, [2.5, "x", None], {}],
        {"b": 1, "a": {"": [], "__proto__": 2}},
        {1, "a", None, b"x", 2.5},
        {1: "a", "b": 2, None: 3, b"c": [4], (1, (2,)): 5},
        {frozenset({1, 2}): {frozenset({3})}},
        {True: 1, 2: {3: {4: [5]}}},
        [{(): set()}],
        dt.datetime(2026, 11, 21, 1, 2, 3, 456789, tzinfo=UTC),
        dt.datetime(1, 1, 1, tzinfo=UTC),
        dt.datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        dt.datetime(1969, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
    ],
)
def test_comes_back_as_it_was(value):
    read = unpack(pack(value))
    assert read == value
    assert repr(read) == repr(value) or isinstance(value, (set, dict))
    assert type(read) is type(value)


def test_keeps_nan():
    assert math.isnan(unpack(pack(math.nan)))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ((1, (2,)), [1, [2]]),
        (Point(1, [2]), [1, [2]]),
        (msgpack.ExtType(5, b"x"), [5, b"x"]),
        ([Point(1, 2), Level.LOW], [[1, 2], 1]),
        (Level.LOW, 1),
        (Number(7), 7),
        (Word("w"), "w"),
        ({Word("w"): Color.RED}, {"w": "red"}),
        (bytearray(b"a"), b"a"),
        (memoryview(b"abcd")[::2], b"ac"),
        (frozenset({1}), {1}),
        (collections.OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
        (collections.defaultdict(list, a=[1]), {"a": [1]}),
        (collections.Counter([1, 1]), {1: 2}),
        ({(1, 2): Level.LOW}, {(1, 2): 1}),
    ],
)
def test_reads_back_as_what_the_table_says(value, expected):
    read = unpack(pack(value))
    assert read == expected
    assert type(read) is type(expected)


@pytest.mark.parametrize(
    ("value", "data"),
    [
        (2**64, b"\xc7\x09\x00\x01" + bytes(8)),
        (-(2**63) - 1, b"\xc7\x09\x00\xff\x7f" + b"\xff" * 7),
        ({1}, b"\xd5\x01\x91\x01"),
        ({1: 2}, b"\xc7\x03\x02\x92\x01\x02"),
        (b"a", b"\xc4\x01a"),
        (dt.datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC), b"\xd6\xff\x00\x00\x00\x01"),
    ],
)
def test_has_the_documented_bytes(value, data):
    assert pack(value) == data
    assert unpack(data) == value


@pytest.mark.parametrize("exponent", [63, 64, 65, 71, 72, 127, 128, 16_000])
def test_writes_integers_of_any_length(exponent):
    for value in (2**exponent - 1, 2**exponent, -(2**exponent), -(2**exponent) - 1):
        assert unpack(pack([value, {value: value}])) == [value, {value: value}]


def test_takes_local_time_for_naive_instants(monkeypatch):
    if not hasattr(time, "tzset"):
        pytest.skip("the time zone of a process cannot be set on this system")
    zone = dt.timezone(dt.timedelta(hours=3))
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XYZ-3")
        time.tzset()
        naive = unpack(pack(dt.datetime(2026, 1, 2, 3, 4, 5, 6)))
        least = dt.datetime.min
        with pytest.raises(UnserializableError, match=r"^value is a datetime.datetime that is no"):
            pack(least)
    time.tzset()
    assert naive == dt.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=zone)
    assert unpack(pack(naive.astimezone(zone))).tzinfo is UTC


def test_refuses_an_instant_that_is_none():
    class NaT(dt.datetime):
        """As pandas has it."""

        def __sub__(self, other):
            return self

        def astimezone(self, zone=None):  # noqa: ARG002 the base has it
            return self

    with pytest.raises(UnserializableError, match="that is no instant"):
        pack(NaT(1, 1, 1))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (1j, "value is of type complex, which has no msgpack form"),
        (object(), "value is of type object, which has no msgpack form"),
        (dt.date.min, "value is of type datetime.date, which has no msgpack form"),
        (dt.time.min, "value is of type datetime.time, which has no msgpack form"),
        (dt.timedelta(1), "value is of type datetime.timedelta, which has no msgpack form"),
        ([decimal.Decimal(1)], "value[0] is of type decimal.Decimal, which has no msgpack form"),
        (
            {"a": [0, Data()]},
            "value['a'][1] is of type test_packed.Data, which has no msgpack form",
        ),
        ({1: {2: 1j}}, "value[1][2] is of type complex, which has no msgpack form"),
        ({(1,): 1j}, "value[tuple] is of type complex, which has no msgpack form"),
        ({1j: 1}, "value.keys(){…} is of type complex, which has no msgpack form"),
        ([{(0, 1j)}], "value[0]{…}[1] is of type complex, which has no msgpack form"),
        ((x for x in ()), "value is of type generator, which has no msgpack form"),
        (msgpack.Timestamp(1), "value is of type msgpack.ext.Timestamp, which has no msgpack form"),
        (
            ["a", {"k": "\ud800"}],
            "value[1]['k'] is a str with a lone surrogate, which has no msgpack form",
        ),
        (
            {1: {"\udfff"}},
            "value[1]{…} is a str with a lone surrogate, which has no msgpack form",
        ),
        (
            {"\ud800": 1},
            "value['\\ud800'] is a str with a lone surrogate, which has no msgpack form",
        ),
    ],
)
def test_says_which_type_and_where(value, message):
    with pytest.raises(UnserializableError) as raised:
        pack(value)
    assert str(raised.value) == message


def test_refuses_what_contains_itself_and_allows_what_is_shared():
    inner = {"k": []}
    assert unpack(pack([inner, inner])) == [inner, inner]
    inner["k"].append(inner)
    with pytest.raises(UnserializableError, match=r"^value\['k'\]\[0\] is a dict that contains"):
        pack(inner)
    odd = {1: []}
    odd[1].append(odd)
    with pytest.raises(UnserializableError, match=r"^value\[1\]\[0\] is a dict that contains"):
        pack(odd)


def nested(levels, *, kinds):
    value = next(kinds)(None)
    for _ in range(levels - 1):
        value = next(kinds)(value)
    return value


WRAPS = [
    [lambda item: [item]],
    [lambda item: {"k": item}],
    [lambda item: {1: item}],
    [lambda item: frozenset([item])],
    [lambda item: [item], lambda item: {"k": item}, lambda item: {1: item}],
]


@pytest.mark.parametrize("wraps", WRAPS)
def test_stops_at_the_documented_depth(wraps):
    value = nested(MAX_DEPTH, kinds=itertools.cycle(wraps))
    assert unpack(pack(value)) == value
    with pytest.raises(UnserializableError, match=r"more than 120 levels deep$"):
        pack(nested(MAX_DEPTH + 1, kinds=itertools.cycle(wraps)))


def test_reads_no_bomb():
    data = b"\x90"
    for _ in range(10_000):
        data = msgpack.packb(msgpack.ExtType(1, b"\x91" + data))[:]
        if len(data) > 1_000_000:
            break
    with pytest.raises(ValueError, match="120 levels"):
        unpack(data)
    with pytest.raises(ValueError, match="StackError"):
        unpack(b"\x91" * 100_000 + b"\xc0")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "incomplete"),
        (b"\xc1", "FormatError"),
        (b"\x01\x01", "extra data"),
        (b"\xd4\x05\x00", "extension type 5 is unknown"),
        (b"\xd4\x02\x91", "incomplete"),
        (b"\xd5\x02\x91\x01", "shorter"),
        (b"\xd5\x01\x91\x80", "unhashable type: 'dict'"),
        (b"\xd4\x01\x01", "not iterable"),
        (b"\xc7\x0c\xff" + bytes(4) + b"\x7f" + bytes(7), "too large"),
        (b"\xa1\xff", "utf-8"),
    ],
)
def test_says_what_cannot_be_read(data, message):
    with pytest.raises(ValueError, match=message):
        unpack(data)


def test_agrees_with_itself_on_values_of_all_kinds():
    chance = random.Random(7)  # noqa: S311 the same values every time
    leaves = [
        lambda: None,
        lambda: chance.choice([True, False]),
        lambda: chance.randint(-(2 ** chance.randint(1, 90)), 2 ** chance.randint(1, 90)),
        chance.random,
        lambda: "".join(chances("aü😀\0'", 6)),
        lambda: bytes(chances(range(256), 6)),
    ]

    def chances(of, most):
        return [chance.choice(of) for _ in range(chance.randint(0, most))]

    def made(depth):
        if depth == 0 or chance.random() < 0.4:
            return chance.choice(leaves)()
        items = [made(depth - 1) for _ in range(chance.randint(0, 4))]
        kind = chance.randint(0, 3)
        if kind == 0:
            return items
        if kind == 1:
            return {str(number): item for number, item in enumerate(items)}
        keys = [chance.choice(leaves)() for _ in items]
        return set(keys) if kind == 2 else dict(zip(keys, items, strict=True))

    for _ in range(2000):
        value = made(4)
        assert unpack(pack(value)) == value


def test_is_no_victim_of_a_low_recursion_limit():
    value = nested(100, kinds=itertools.cycle(WRAPS[0]))
    with few_frames_left(), pytest.raises(UnserializableError, match=r"levels deep$"):
        pack(value)


def test_is_fast_with_much():
    numbers = [number / 7 for number in range(1_000_000)]
    rows = [{"name": str(number), "value": number} for number in range(100_000)]
    text = "ü" * 5_000_000
    data = os.urandom(10_000_000)
    for value in (numbers, rows, text, data):
        began = time.process_time()
        assert unpack(pack(value)) == value
        # A tenth of this on the machine that it was written on.
        assert time.process_time() - began < 5
