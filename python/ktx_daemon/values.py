"""A Python value as JSON text that every JSON reader accepts.

The other form of values, MessagePack, is written and read by `packed`. What
both do, `-` being unserializable:

============================  ==========================  =====================
Python                        JSON                        MessagePack
============================  ==========================  =====================
``None``, ``bool``            ``null``, ``true``,         nil, true, false
                              ``false``
``int`` and its subclasses    number, exact, however      the smallest integer;
                              long                        beyond 64 bits ext 0:
                                                          two's complement, big-
                                                          endian
``float`` and its subclasses  number                      float 64
NaN, infinities               -                           float 64
``str`` and its subclasses    string, ASCII with escapes  str
lone surrogate in it          its escape                  -
``bytes``, ``bytearray``,     -                           bin
``memoryview``
``list``, ``tuple``, named    array                       array
tuple
``dict`` with keys that are   object, in order            map, in order
all ``str``
other ``dict``                -                           ext 2: array of key,
                                                          value, key, value, …
``set``, ``frozenset``        -                           ext 1: array
``datetime``                  -                           ext -1, a timestamp; if
                                                          naive, of local time
``numpy`` scalar              as ``.item()``              as ``.item()``
``numpy.ndarray``             as ``.tolist()``            as ``.tolist()``
``numpy`` time                -                           datetime if ``.item()``
                                                          is one
masked ``numpy`` array        -                           -
a container inside itself     -                           -
more than 120 levels          - (readers stop at 128)     -
anything else                 -                           -
============================  ==========================  =====================

Anything else is ``date``, ``timedelta``, ``Decimal``, ``complex``, dataclasses,
generators and all other objects. Unserializable is an error that names the type
and the place. Nothing becomes null, a string or an approximation on its own.

Read backwards, from MessagePack: a timestamp is an aware ``datetime`` in UTC,
bin is ``bytes``, array is ``list``; within sets and keys, where Python takes
only what cannot change, ``tuple`` and ``frozenset``.
"""

from __future__ import annotations

import sys

try:
    from _json import encode_basestring_ascii as quoted
except ImportError:  # an interpreter without the accelerator
    from json.encoder import py_encode_basestring_ascii as quoted

MAX_DEPTH = 120
TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep"
_CONSTANTS = {None: "null", True: "true", False: "false"}


class UnserializableError(Exception):
    """A value has no JSON form; the message says which type and where."""

    def __init__(self, reason: str) -> None:
        """Begin at the innermost value; the containers around it add steps."""
        super().__init__(reason)
        self.steps: list[str] = []

    def __str__(self) -> str:
        """Return the place, innermost step last, and the reason."""
        return f"value{''.join(reversed(self.steps))} {self.args[0]}"


def encode(value: object) -> str:
    """Return `value` as JSON text, or raise `UnserializableError`."""
    limit = _lift_digit_limit()
    try:
        return _encode(value, set(), 1)
    except RecursionError:
        # The code may have lowered the interpreter's own limit.
        raise UnserializableError(TOO_DEEP) from None
    finally:
        if limit is not None:
            sys.set_int_max_str_digits(limit)


def _lift_digit_limit() -> int | None:
    # Python 3.10 has the limit from its 7th patch release on.
    if not hasattr(sys, "get_int_max_str_digits"):
        return None
    limit = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    return limit


def _encode(value: object, parents: set[int], depth: int) -> str:
    scalar = _scalar(value)
    if scalar is not None:
        return scalar
    if isinstance(value, (list, tuple, dict)):
        if id(value) in parents:
            reason = f"is a {type_name(value)} that contains itself"
            raise UnserializableError(reason)
        if depth > MAX_DEPTH:
            raise UnserializableError(TOO_DEEP)
        parents.add(id(value))
        text = (
            _object(value, parents, depth)
            if isinstance(value, dict)
            else _array(value, parents, depth)
        )
        parents.discard(id(value))
        return text
    plain = from_numpy(value)
    if plain is not None:
        return _encode(plain[0], parents, depth)
    reason = f"is of type {type_name(value)}, which has no JSON form"
    raise UnserializableError(reason)


def _scalar(value: object) -> str | None:
    if value is None or isinstance(value, bool):
        return _CONSTANTS[value]
    if isinstance(value, str):
        return quoted(value)
    # Subclasses, enumerations among them, have a `repr` of their own.
    if isinstance(value, int):
        return int.__repr__(value)
    if isinstance(value, float):
        text = float.__repr__(value)
        if text in ("nan", "inf", "-inf"):
            reason = f"is {text}, which has no JSON form"
            raise UnserializableError(reason)
        return text
    return None


def _array(
    value: list[object] | tuple[object, ...],
    parents: set[int],
    depth: int,
) -> str:
    items: list[str] = []
    try:
        for item in value:
            items.append(_encode(item, parents, depth + 1))  # noqa: PERF401 its length is the index
    except UnserializableError as error:
        error.steps.append(f"[{len(items)}]")
        raise
    return f"[{','.join(items)}]"


def _object(value: dict[object, object], parents: set[int], depth: int) -> str:
    members = []
    for key, item in value.items():
        if not isinstance(key, str):
            reason = f"has a key of type {type_name(key)}, and a key in JSON is a string"
            raise UnserializableError(reason)
        try:
            members.append(f"{quoted(key)}:{_encode(item, parents, depth + 1)}")
        except UnserializableError as error:
            error.steps.append(f"[{key!r}]")
            raise
    return f"{{{','.join(members)}}}"


def from_numpy(value: object) -> tuple[object] | None:
    """Return what a value of numpy holds, in a tuple; `None` for any other."""
    # One can only exist where numpy has been imported already.
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return None
    try:
        if isinstance(value, numpy.generic):
            plain = value.item()
        elif isinstance(value, numpy.ndarray):
            plain = value.tolist()
        else:
            return None
        if _loses_items(value):
            return None
    except AttributeError:  # a module of the user's that is called numpy
        return None
    # Some scalars (`longdouble`, `void`) are their own item.
    return None if type(plain) is type(value) else (plain,)


def _loses_items(value: object) -> bool:
    """Return whether numpy turns items into other things than they are."""
    masks = sys.modules.get("numpy.ma")
    if masks is not None and isinstance(value, masks.MaskedArray):
        return True  # masked items become None
    if not _has_times(value.dtype):
        return False
    # Times become numbers, or None, if `datetime` cannot hold them.
    datetime = sys.modules["datetime"].datetime
    items = value.ravel().tolist()
    return value.dtype.kind != "M" or not all(isinstance(item, datetime) for item in items)


def _has_times(dtype: object) -> bool:
    if dtype.fields is None:
        return dtype.base.kind in "mM"
    return any(_has_times(field[0]) for field in dtype.fields.values())


def type_name(value: object) -> str:
    """Return the name of a value's type as its user would write it."""
    kind = type(value)
    module = kind.__module__
    return (
        kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"
    )
