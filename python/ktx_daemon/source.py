"""The user's source text, compiled so that its last expression has a value.

Only built-in modules are imported: this is on the path of every call.
"""

from __future__ import annotations

import sys
from _ast import Assign, Expr, Module, Name, PyCF_ONLY_AST, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

# Not an identifier, so the code can neither read nor overwrite it by accident.
LAST_VALUE = "ktx:last"

# Without angle brackets: `linecache` then asks the module's loader for the
# lines, so that `logging.exception` in the user's code shows them as well.
DEFAULT_FILENAME = "ktx:code"

# What a session keeps of its texts for tracebacks.
MAX_TEXTS = 64
MAX_TEXTS_SIZE = 8 * 1024 * 1024


def prepare(text: str, filename: str) -> CodeType:
    """Compile `text` as a script that stores its last expression in `LAST_VALUE`.

    The whole text becomes one code object: `from __future__` holds for all of
    it, line numbers are those of the text, and it runs once. Whatever
    `compile` raises for the text is left to the caller.
    """
    # Files may begin with a byte order mark; `compile` takes it for a name.
    text = text.removeprefix("\ufeff")
    tree = compile(text, filename, "exec", PyCF_ONLY_AST, dont_inherit=True)
    # A `Module` is what "exec" gives; this tells type checkers.
    if isinstance(tree, Module) and tree.body:
        last = tree.body[-1]
        if isinstance(last, Expr):
            tree.body[-1] = _stored(last)
    return compile(tree, filename, "exec", dont_inherit=True)


def _stored(expression: Expr) -> Assign:
    at = {
        "lineno": expression.lineno,
        "col_offset": expression.col_offset,
        "end_lineno": expression.end_lineno,
        "end_col_offset": expression.end_col_offset,
    }
    target = Name(LAST_VALUE, Store(), **at)
    return Assign([target], expression.value, None, **at)


class Sources:
    """The texts of the latest calls, for tracebacks and `inspect`."""

    def __init__(self) -> None:
        """Begin with no call."""
        self._calls = 0
        self._size = 0
        self._texts: dict[str, str] = {}
        # Programs send the same text again and again, with other data.
        self._names: dict[tuple[str, str], str] = {}
        self._compiled: dict[str, CodeType] = {}

    def add(self, text: str, given: str) -> str:
        """Keep the text of the next call; return the file name to give it.

        A text that was run before has the name that it had then.
        """
        self._calls += 1
        filename = self._names.get((text, given), given)
        if (text, given) in self._names:
            self._texts.pop(filename, None)
            self._texts[filename] = text
            return filename
        if not filename:
            number = f"-{self._calls}" if self._calls > 1 else ""
            filename = f"{DEFAULT_FILENAME}{number}"
        self._drop(filename)
        self._texts[filename] = text
        self._names[text, given] = filename
        self._size += len(text)
        while len(self._texts) > MAX_TEXTS or (
            self._size > MAX_TEXTS_SIZE and len(self._texts) > 1
        ):
            self._drop(next(iter(self._texts)))
        self._show(filename)
        return filename

    def compiled(self, filename: str) -> CodeType:
        """Return the text of this name, compiled."""
        code = self._compiled.get(filename)
        if code is None:
            code = self._compiled[filename] = prepare(self._texts[filename], filename)
        return code

    def show(self) -> None:
        """Let `linecache` quote the texts that ran, whatever files hold by now."""
        for filename in self._texts:
            self._show(filename)

    def get_source(self, fullname: str) -> str | None:
        """Return the text of the only call, as the loader of `__main__`.

        With more than one, only `linecache` knows which file name is whose.
        """
        del fullname
        return next(iter(self._texts.values())) if self._calls == 1 else None

    def _drop(self, filename: str) -> None:
        text = self._texts.pop(filename, None)
        if text is not None:
            self._size -= len(text)
            self._compiled.pop(filename, None)
            # The name was given with the text, or made for it.
            if self._names.pop((text, filename), None) is None:
                del self._names[text, ""]
            linecache = sys.modules.get("linecache")
            if linecache:
                linecache.cache.pop(filename, None)

    def _show(self, filename: str) -> None:
        linecache = sys.modules.get("linecache")
        if linecache:
            text = self._texts[filename].removeprefix("\ufeff")
            # Lines end as Python ends them, and not where `splitlines` does.
            text = text.replace("\r\n", "\n").replace("\r", "\n")
            lines = [f"{line}\n" for line in text.split("\n")]
            linecache.cache[filename] = (len(text), None, lines, filename)
