"""The end of a worker, without what only gives memory back.

Finalizing an interpreter releases every object it has, which takes longer than
most calls; in a forked worker, each page that this writes to is copied first.
What the code can observe of an end comes here as it does there, in the same
order: threads are waited for, exit handlers run, and what the code's modules
hold is dropped, so that files are flushed and destructors run.

Libraries that are not Python's may have exit handlers of their own. With one of
them the interpreter ends in its own way.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys
from _imp import extension_suffixes
from _weakref import ref


class Ending:
    """What has to be known at the beginning for the end."""

    def __init__(self) -> None:
        """Remember the modules that are not the code's."""
        self._known = frozenset(sys.modules) - {"__main__"}

    def leave(self, status: int) -> None:
        """End this process with `status`; return if that is left to the interpreter."""
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()  # what the interpreter calls
        atexit._run_exitfuncs()  # what the interpreter calls
        flush()
        modules = {name: module for name, module in sys.modules.items() if name not in self._known}
        if not any(_is_foreign(name, module) for name, module in modules.items()):
            _drop(modules)
            flush()
            os._exit(status)


def flush() -> None:
    """Write what the code's output streams still hold."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except Exception:  # noqa: BLE001, PERF203, S112 the code may have closed or replaced it
            continue


def _is_foreign(name: str, module: object) -> bool:
    if name.partition(".")[0] in sys.stdlib_module_names:
        # It loads whatever the code asks for.
        return name == "_ctypes"
    origin = getattr(getattr(module, "__spec__", None), "origin", None)
    return isinstance(origin, str) and origin.endswith(tuple(extension_suffixes()))


def _drop(modules: dict[str, object]) -> None:
    """Free modules in the order of the interpreter, the latest first."""
    left = []
    while modules:
        name, module = modules.popitem()
        del sys.modules[name]
        if isinstance(module, type(sys)):
            left.append(ref(module))
        del module
    gc.collect()
    for module in left:
        if (kept := module()) is not None:
            kept.__dict__.clear()
    gc.collect()
