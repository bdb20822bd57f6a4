"""What went wrong in a call, in words.

`traceback` costs as much to import as all the rest of a worker: an interpreter
that is started for one call imports this only when something did go wrong.
"""

from __future__ import annotations

import traceback

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


def render_syntax(error: BaseException) -> str:
    """Return what Python prints for a text that does not compile."""
    return "".join(traceback.format_exception(type(error), error, None))


def render(error: BaseException, frames: TracebackType | None) -> str:
    """Return what Python prints for `error`, beginning at `frames`."""
    return "".join(traceback.format_exception(type(error), error, frames))


def summarize(error: BaseException) -> str:
    """Return the line that Python prints last: type and message."""
    return "".join(traceback.format_exception_only(type(error), error)).rstrip("\n").split("\n")[-1]
