"""A Python value as MessagePack, and back; the table is in `values`.

`msgpack` does the work. Before it, a walk over containers replaces what it
would refuse or write differently, and leaves alone those that hold nothing of
the kind, which is nearly all.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import msgpack

from ktx_daemon.values import (
    MAX_DEPTH,
    TOO_DEEP,
    UnserializableError,
    from_numpy,
    type_name,
)

LARGE_INTEGER, SET, MAP = 0, 1, 2

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_PLAIN = frozenset((type(None), bool, int, float, str, bytes, bytearray))
_KEY = frozenset((str,))


def pack(value: object) -> bytes:
    """Return `value` as one MessagePack object, or raise `UnserializableError`."""
    try:
        return _written(_Walk(searches=False).plain(value, 1))
    except UnicodeEncodeError:
        # Strings are looked at one by one only if there is a bad one.
        _Walk(searches=True).plain(value, 1)
        raise
    except RecursionError:
        # The code may have lowered the interpreter's own limit.
        raise UnserializableError(TOO_DEEP) from None


def unpack(data: bytes) -> object:
    """Return the value of one MessagePack object; `ValueError` if it has none."""
    try:
        return _read(data, 0)
    except (ValueError, TypeError, OverflowError) as error:
        reason = str(error) or f"it is no MessagePack: {type(error).__name__}"
        raise ValueError(reason) from None


class _Walk:
    def __init__(self, *, searches: bool) -> None:
        """Look for strings that are not text too if it `searches`."""
        self._searches = searches
        self._parents: set[int] = set()

    def plain(self, value: object, depth: int) -> object:
        """Return `value`, or what stands for it in terms of `msgpack`."""
        if type(value) in _PLAIN and not self._searches:
            return value
        if isinstance(value, (list, tuple, dict, set, frozenset)):
            return self._container(value, depth)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        # Subclasses, enumerations among them, may define what these mean.
        for base in (int, float):
            if isinstance(value, base) and not isinstance(value, bool):
                return base.__pos__(value)
        return self._other(value, depth)

    def _other(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, (bool, bytes, bytearray)):
            return value
        if isinstance(value, memoryview):
            return value.tobytes()
        if isinstance(value, datetime):
            return _instant(value)
        item = from_numpy(value)
        if item is not None:
            return self.plain(item[0], depth)
        reason = f"is of type {type_name(value)}, which has no msgpack form"
        raise UnserializableError(reason)

    def _text(self, text: str) -> str:
        if self._searches:
            try:
                text.encode()
            except UnicodeEncodeError:
                reason = "is a str with a lone surrogate, which has no msgpack form"
                raise UnserializableError(reason) from None
        return text

    def _container(self, value: object, depth: int) -> object:
        if id(value) in self._parents:
            reason = f"is a {type_name(value)} that contains itself"
            raise UnserializableError(reason)
        if depth > MAX_DEPTH:
            raise UnserializableError(TOO_DEEP)
        self._parents.add(id(value))
        if isinstance(value, dict):
            plain = self._mapping(value, depth + 1)
        elif isinstance(value, (list, tuple)):
            plain = self._sequence(value, depth + 1)
        else:
            plain = self._set(value, depth + 1)
        self._parents.discard(id(value))
        return plain

    def _sequence(
        self, value: list[object] | tuple[object, ...], depth: int
    ) -> list[object] | tuple[object, ...]:
        if self._is_plain(value):
            # `msgpack` has named tuples with meanings of their own.
            return value if type(value) in (list, tuple) else list(value)
        items: list[object] = []
        try:
            for item in value:
                items.append(self.plain(item, depth))  # noqa: PERF401 its length is the index
        except UnserializableError as error:
            error.steps.append(f"[{len(items)}]")
            raise
        return items

    def _set(self, value: set[object] | frozenset[object], depth: int) -> msgpack.ExtType:
        items = list(value)
        if not self._is_plain(items):
            try:
                items = [self.plain(item, depth) for item in items]
            except UnserializableError as error:
                error.steps.append("{…}")
                raise
        return msgpack.ExtType(SET, _written(items))

    def _mapping(self, value: dict[object, object], depth: int) -> object:
        is_simple = type(value) is dict and _KEY.issuperset(map(type, value))
        if is_simple and self._is_plain(value.values()):
            return value
        pairs = list(value.items())
        if not is_simple and not all(isinstance(key, str) for key, _ in pairs):
            return self._map(pairs, depth)
        plain = {}
        try:
            for key, item in pairs:
                plain[self._text(str.__str__(key))] = self.plain(item, depth)
        except UnserializableError as error:
            error.steps.append(_step(key))
            raise
        return plain

    def _map(self, pairs: list[tuple[object, object]], depth: int) -> msgpack.ExtType:
        flat: list[object] = []
        for key, item in pairs:
            try:
                flat.append(self.plain(key, depth))
            except UnserializableError as error:
                error.steps.append(".keys(){…}")
                raise
            try:
                flat.append(self.plain(item, depth))
            except UnserializableError as error:
                error.steps.append(_step(key))
                raise
        return msgpack.ExtType(MAP, _written(flat))

    def _is_plain(self, items: object) -> bool:
        return not self._searches and _PLAIN.issuperset(map(type, items))


def _written(plain: object) -> bytes:
    return msgpack.packb(plain, default=_large)


def _large(value: object) -> msgpack.ExtType:
    """Return what stands for an integer that `msgpack` has no room for."""
    if not isinstance(value, int):
        reason = f"holds a {type_name(value)} that came while it was written"
        raise UnserializableError(reason)
    size = value.bit_length() // 8 + 1
    return msgpack.ExtType(LARGE_INTEGER, value.to_bytes(size, "big", signed=True))


def _instant(value: datetime) -> msgpack.Timestamp:
    try:
        if value.utcoffset() is None:
            value = value.astimezone(timezone.utc)
        since = value - _EPOCH
    except (OverflowError, ValueError, OSError):
        # Local time at both ends of the calendar.
        since = None
    # pandas has a `datetime` that is none, `NaT`.
    if not isinstance(since, timedelta):
        reason = f"is a {type_name(value)} that is no instant, which has no msgpack form"
        raise UnserializableError(reason)
    return msgpack.Timestamp(since.days * 86400 + since.seconds, since.microseconds * 1000)


def _step(key: object) -> str:
    # Others may be long, and have a `repr` that is the user's code.
    return f"[{key!r}]" if type(key) in _PLAIN else f"[{type_name(key)}]"


def _read(data: bytes, depth: int) -> object:
    """Return the object in `data`.

    Sets and maps in it begin empty and are filled afterwards: reading them
    inside of `msgpack` would take its stack at every level.
    """
    if depth > MAX_DEPTH:
        raise ValueError(TOO_DEEP)
    unread: list[tuple[set[object] | dict[object, object], bytes]] = []

    def extension(code: int, content: bytes) -> object:
        if code == LARGE_INTEGER:
            return int.from_bytes(content, "big", signed=True)
        if code not in (SET, MAP):
            reason = f"extension type {code} is unknown"
            raise ValueError(reason)
        filled: set[object] | dict[object, object] = set() if code == SET else {}
        unread.append((filled, content))
        return filled

    value = msgpack.unpackb(data, ext_hook=extension, timestamp=3, strict_map_key=False)
    for filled, content in unread:
        items = iter(_read(content, depth + 1))
        if isinstance(filled, set):
            filled.update(map(_hashable, items))
        else:
            filled.update((_hashable(key), item) for key, item in zip(items, items, strict=True))
    return value


def _hashable(value: object) -> object:
    """Return what can be in a set or a key, with the same content."""
    if isinstance(value, list):
        return tuple(map(_hashable, value))
    return frozenset(value) if isinstance(value, set) else value
