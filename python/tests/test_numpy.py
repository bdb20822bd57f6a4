"""Values of the real numpy, in both forms."""

import datetime as dt
import json

import msgpack
import pytest

from ktx_daemon import packed, values

np = pytest.importorskip("numpy", reason="numpy is not in this environment")


def both(value):
    """What a value is in JSON and in MessagePack, as its readers see it."""
    return json.loads(values.encode(value)), msgpack.unpackb(packed.pack(value))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float64(0.5), 0.5),
        (np.float32(0.5), 0.5),
        (np.float16(2), 2.0),
        (np.int8(-3), -3),
        (np.uint64(2**64 - 1), 2**64 - 1),
        (np.True_, True),
        (np.str_("ü"), "ü"),
        (np.array(5), 5),
        (np.array([]), []),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        (np.array([1, 2], dtype=">i2"), [1, 2]),
        (np.array(["a", None, 1.5], dtype=object), ["a", None, 1.5]),
        (np.array([(1, 2.5)], dtype=[("a", int), ("b", float)]), [[1, 2.5]]),
        (np.array([(1, 2.5)], dtype=[("a", int), ("b", float)])[0], [1, 2.5]),
        ({"a": [np.int64(1), np.array([True])]}, {"a": [1, [True]]}),
    ],
)
def test_are_what_they_hold(value, expected):
    assert both(value) == (expected, expected)


@pytest.mark.parametrize(
    "value",
    [
        np.complex128(1j),
        np.longdouble(1),
        np.timedelta64(1, "s"),
        np.timedelta64(1, "ns"),
        np.datetime64("2020-01-01"),
        np.datetime64("2020-01-01T00:00:00.000000001"),
        np.datetime64("NaT", "us"),
        np.array(["2020-01-01", "NaT"], dtype="datetime64[us]"),
        np.array(["2020-01-01"], dtype="datetime64[ns]"),
        np.array([1], dtype="timedelta64[ns]"),
        np.array([(1, 2)], dtype=[("a", int), ("b", "datetime64[ns]")]),
        np.ma.masked_array([1, 2], mask=[0, 1]),
        np.ma.masked,
        np.array([np.array([1j])], dtype=object),
    ],
)
def test_never_become_something_else(value):
    for encode in (values.encode, packed.pack):
        with pytest.raises(values.UnserializableError, match=r"^value.* is of type "):
            encode(value)


def test_are_instants_where_datetime_holds_them():
    moment = np.datetime64("2020-01-01T12:30:00.000001")
    expected = moment.item().astimezone(dt.timezone.utc)
    assert packed.unpack(packed.pack(moment)) == expected
    assert packed.unpack(packed.pack(np.array([moment]))) == [expected]


def test_write_bytes_as_bytes():
    assert packed.unpack(packed.pack([np.bytes_(b"a"), np.void(b"bc")])) == [b"a", b"bc"]


def test_write_a_million_numbers():
    numbers = np.arange(1_000_000, dtype=float)
    assert packed.unpack(packed.pack(numbers)) == numbers.tolist()
