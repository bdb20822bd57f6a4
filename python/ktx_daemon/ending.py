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

_Module = type(sys)


class Ending:
    """What has to be known at the beginning for the end."""

    def __init__(self) -> None:
        """Remember what is not the code's."""
        self._sizes = {
            name: len(module.__dict__)
            for name, module in sys.modules.items()
            if name != "__main__" and isinstance(module, _Module)
        }
        # It stays to the end, so nobody has to look whether it is garbage.
        gc.freeze()

    def leave(self, status: int) -> None:
        """End this process with `status`; return if that is left to the interpreter."""
        threading = sys.modules.get("threading")
        if threading is not None:
            threading._shutdown()  # what the interpreter calls
        atexit._run_exitfuncs()  # what the interpreter calls
        flush()
        names = [name for name in sys.modules if name not in self._sizes]
        if not any(_is_foreign(name) for name in names):
            self._drop(names)
            flush()
            os._exit(status)

    def _drop(self, names: list[str]) -> None:
        """Free what is the code's, the latest modules first."""
        # This brings what holds files before the files, also in a cycle.
        gc.collect()
        marks = []
        for name in reversed(names):
            module = sys.modules.pop(name)
            if isinstance(module, _Module):
                marks.append(_Mark.of(module.__dict__))
            del module
        for name, size in self._sizes.items():
            module = sys.modules.get(name)
            if isinstance(module, _Module):
                for added in list(module.__dict__)[size:]:
                    module.__dict__.pop(added, None)
        gc.collect()
        for mark in marks:
            if (left := mark()) is not None:
                left.empty()
        gc.collect()


class _Mark:
    """Is in a module's variables, and goes when they go."""

    __slots__ = ("__weakref__", "_variables")

    @classmethod
    def of(cls, variables: dict[str, object]) -> ref[_Mark]:
        """Mark `variables`."""
        mark = cls()
        mark._variables = variables
        variables["ktx:mark"] = mark
        return ref(mark)

    def empty(self) -> None:
        """Free the variables' values; what is left of the code finds None."""
        for name in self._variables:
            if name != "__builtins__":
                self._variables[name] = None


def flush() -> None:
    """Write what the code's output streams still hold."""
    for name in ("stdout", "stderr"):
        try:
            getattr(sys, name).flush()
        except Exception:  # noqa: BLE001, PERF203, S112 the code may have closed or replaced it
            continue


def _is_foreign(name: str) -> bool:
    package = name.partition(".")[0]
    if package in sys.stdlib_module_names or package == "msgpack":
        # This one loads whatever the code asks for.
        return name == "_ctypes"
    origin = getattr(getattr(sys.modules[name], "__spec__", None), "origin", None)
    return isinstance(origin, str) and origin.endswith(tuple(extension_suffixes()))
