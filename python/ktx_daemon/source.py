"""The user's source text, compiled so that its last expression has a value.

Only built-in modules are imported: this is on the path of every call.
"""

from __future__ import annotations

from _ast import Assign, Expr, Module, Name, PyCF_ONLY_AST, Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

# Not an identifier, so the code can neither read nor overwrite it by accident.
LAST_VALUE = "ktx:last"

# Without angle brackets: `linecache` then asks the module's loader for the
# lines, so that `logging.exception` in the user's code shows them as well.
DEFAULT_FILENAME = "ktx:code"


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


class SourceLoader:
    """Gives `linecache` and `inspect` the text that a call runs."""

    def __init__(self, text: str) -> None:
        """Keep `text`."""
        self._text = text

    def get_source(self, fullname: str) -> str:
        """Return the text, whatever the module is called."""
        del fullname
        return self._text
