"""A Python value as JSON text that every JSON reader accepts.

===============================  ==============================================
Python                           JSON
===============================  ==============================================
``None``, ``bool``               ``null``, ``true``, ``false``
``int`` and its subclasses       number, exact, however long
``float``                        number; NaN and infinities: unserializable
``str`` and its subclasses       string, ASCII with escapes; a lone surrogate
                                 stays the escape of that surrogate
``list``, ``tuple``              array (a named tuple too)
``dict`` and its subclasses      object, in order, if every key is a ``str``;
                                 any other key: unserializable
``numpy`` scalar                 as ``.item()``
``numpy.ndarray``                as ``.tolist()``
a container inside itself        unserializable
more than 120 levels             unserializable: common readers stop at 128
anything else                    unserializable: ``set``, ``bytes``,
                                 ``datetime``, ``Decimal``, ``complex``,
                                 dataclasses, generators, …
===============================  ==============================================

Unserializable is an error that names the type and the place. Nothing becomes
null, a string or an approximation on its own.
"""

from __future__ import annotations

import sys

try:
    from _json import encode_basestring_ascii as quoted
except ImportError:  # an interpreter without the accelerator
    from json.encoder import py_encode_basestring_ascii as quoted

MAX_DEPTH = 120
_TOO_DEEP = f"is nested more than {MAX_DEPTH} levels deep"
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
        raise UnserializableError(_TOO_DEEP) from None
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
            reason = f"is a {_type_name(value)} that contains itself"
            raise UnserializableError(reason)
        if depth > MAX_DEPTH:
            raise UnserializableError(_TOO_DEEP)
        parents.add(id(value))
        text = (
            _object(value, parents, depth)
            if isinstance(value, dict)
            else _array(value, parents, depth)
        )
        parents.discard(id(value))
        return text
    plain = _from_numpy(value)
    if plain is not None:
        return _encode(plain[0], parents, depth)
    reason = f"is of type {_type_name(value)}, which has no JSON form"
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
            reason = f"has a key of type {_type_name(key)}, and a key in JSON is a string"
            raise UnserializableError(reason)
        try:
            members.append(f"{quoted(key)}:{_encode(item, parents, depth + 1)}")
        except UnserializableError as error:
            error.steps.append(f"[{key!r}]")
            raise
    return f"{{{','.join(members)}}}"


def _from_numpy(value: object) -> tuple[object] | None:
    # A value of numpy can only exist where numpy has been imported already.
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
    except AttributeError:  # a module of the user's that is called numpy
        return None
    # Some scalars (`longdouble`, `void`) are their own item.
    return None if type(plain) is type(value) else (plain,)


def _type_name(value: object) -> str:
    kind = type(value)
    module = kind.__module__
    return (
        kind.__qualname__ if module in ("builtins", "__main__") else f"{module}.{kind.__qualname__}"
    )
