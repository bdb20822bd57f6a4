"""One call: take the request, run the code as `__main__`, report.

The supervisor starts an interpreter for each call and talks to it through two
pipes. Standard input carries the request, a sequence of fields each written as
its length in bytes, a line feed, and the bytes. The report goes to a descriptor
that the first field names; the code's own output never meets it. The report is
the line `started` before the code runs, and one JSON line when it is done.

Imports are kept to built-in modules and those that every interpreter has loaded
at start-up: this is on the path of every call.
"""

from __future__ import annotations

import atexit
import os
import sys

from ktx_daemon.source import DEFAULT_FILENAME, LAST_VALUE, SourceLoader, prepare
from ktx_daemon.values import UnserializableError, encode, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class Request:
    """What to run, as the supervisor wrote it."""

    def __init__(self, fields: list[bytes]) -> None:
        """Take the fields in the order in which they are sent."""
        channel, result, filename, upstream, code, *args = fields
        self.channel = int(channel)
        self.wants_repr = result == b"repr"
        self.filename = filename.decode()
        self.upstream = upstream
        self.code = code.decode()
        self.args = [arg.decode() for arg in args]


class Report:
    """The value or the failure of a call, on its way to the supervisor."""

    def __init__(self, channel: int) -> None:
        """Take over the descriptor `channel`."""
        self._channel = channel
        self._owner = os.getpid()
        self._line = ""

    def start(self) -> None:
        """Say that the code begins to run."""
        # Exit handlers run in reverse, after all threads: this one, registered
        # before any of the code's, reports when those are done.
        atexit.register(self._send)
        self._write("started\n")

    def value(self, text: str) -> None:
        """Keep the call's value, as JSON text."""
        self._line = f'{{"value":{text},"error":null}}\n'

    def failure(self, kind: str, message: str, traceback: str | None = None) -> None:
        """Keep the call's failure."""
        shown = "null" if traceback is None else _quoted(traceback)
        self._line = (
            f'{{"value":null,"error":{{"kind":"{kind}",'
            f'"message":{_quoted(message)},"traceback":{shown}}}}}\n'
        )

    def in_child(self) -> bool:
        """Return whether the code forked and this is the child."""
        return os.getpid() != self._owner

    def _send(self) -> None:
        if not self.in_child():
            self._write(self._line)

    def _write(self, text: str) -> None:
        data = memoryview(text.encode())
        try:
            while data:
                data = data[os.write(self._channel, data) :]
        except OSError:
            # The code closed descriptors that are not its own. The supervisor
            # sees a worker that ended without a report.
            return


def main() -> None:
    """Run the call that standard input describes."""
    request = Request(_read_fields())
    _detach_input()
    report = Report(_own_channel(request.channel))
    status = run(request, report)
    if report.in_child() and status:
        sys.exit(status)


def run(request: Request, report: Report) -> int:
    """Run the code and leave what came of it in `report`; return a status."""
    text, filename = request.code, request.filename or DEFAULT_FILENAME
    namespace = _enter_main(request, text)
    report.start()
    if request.upstream:
        from json import loads  # noqa: PLC0415 most calls have no use for it

        try:
            namespace["upstream"] = loads(request.upstream)
        except (ValueError, RecursionError) as error:
            # What JSON allows and Python does not: very long integers and very
            # deep nesting.
            report.failure("exception", f"upstream cannot be read: {error}")
            return 1
    try:
        code = prepare(text, filename)
    except BaseException as error:  # noqa: BLE001 compile raises more than SyntaxError
        _syntax(report, error, text, filename)
        return 1
    try:
        exec(code, namespace)  # noqa: S102 it is what this program is for
    except SystemExit as leaving:
        return _left(report, leaving, namespace, wants_repr=request.wants_repr)
    except BaseException as error:  # noqa: BLE001 every exception is reported
        return _raised(report, error, text, filename, namespace)
    return _value(report, namespace, text, filename, wants_repr=request.wants_repr)


def _read_fields() -> list[bytes]:
    with open(0, "rb", closefd=False) as stream:
        count = int(stream.readline())
        return [stream.read(int(stream.readline())) for _ in range(count)]


def _detach_input() -> None:
    # The code may read standard input: it finds nothing there.
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)


def _own_channel(channel: int) -> int:
    """Keep programs that the code starts from inheriting the channel."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 it exists there only

        os.set_handle_inheritable(channel, False)  # noqa: FBT003 it takes no keyword
        return msvcrt.open_osfhandle(channel, os.O_WRONLY | os.O_BINARY)
    os.set_inheritable(channel, False)  # noqa: FBT003 it takes no keyword
    return channel


def _enter_main(request: Request, text: str) -> dict[str, object]:
    main_module = type(sys)("__main__")
    namespace = main_module.__dict__
    namespace["__builtins__"] = sys.modules["builtins"]
    namespace["__loader__"] = SourceLoader(text)
    if request.filename and not request.filename.startswith("<"):
        namespace["__file__"] = request.filename
    sys.modules["__main__"] = main_module
    sys.argv = [request.filename or "-c", *request.args]
    return namespace


def _value(
    report: Report,
    namespace: dict[str, object],
    text: str,
    filename: str,
    *,
    wants_repr: bool,
) -> int:
    if report.in_child():
        return 0
    last = namespace.pop(LAST_VALUE, None)
    value = namespace.get("_result", last)
    try:
        if wants_repr:
            report.value("null" if value is None else quoted(repr(value)))
        else:
            report.value(encode(value))
    except UnserializableError as error:
        report.failure("unserializable", str(error))
        return 1
    except BaseException as error:  # noqa: BLE001 `repr` and iteration run the code's methods
        return _raised(report, error, text, filename, namespace)
    return 0


def _left(
    report: Report,
    leaving: SystemExit,
    namespace: dict[str, object],
    *,
    wants_repr: bool,
) -> int:
    status = _status(leaving.code)
    if status == 0:
        namespace.pop(LAST_VALUE, None)
        return _value(report, namespace, "", DEFAULT_FILENAME, wants_repr=wants_repr)
    report.failure("exit", f"Python exited with status {status}")
    return status


def _status(code: object) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code & (0xFFFF_FFFF if sys.platform == "win32" else 0xFF)
    try:
        sys.stderr.write(f"{code}\n")
    except Exception:  # noqa: BLE001 the code may have closed or replaced it
        return 1
    return 1


def _syntax(report: Report, error: BaseException, text: str, filename: str) -> None:
    from ktx_daemon import failures  # noqa: PLC0415 costs more than the rest of a worker

    failures.show_source(text, filename)
    report.failure("syntax", failures.summarize(error), failures.render_syntax(error))


def _raised(
    report: Report,
    error: BaseException,
    text: str,
    filename: str,
    namespace: dict[str, object],
) -> int:
    kind = "memory" if isinstance(error, MemoryError) else "exception"
    frames = _frames_of_code(error.__traceback__)
    try:
        message, shown = _describe(error, frames, text, filename)
    except MemoryError:
        _free(frames, namespace)
        message, shown = _describe(error, frames, text, filename)
    if report.in_child():
        sys.stderr.write(shown)
    else:
        report.failure(kind, message, shown)
    return 1


def _frames_of_code(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this package, which come first."""
    while frames and frames.tb_frame.f_globals.get("__package__") == __package__:
        frames = frames.tb_next
    return frames


def _free(frames: TracebackType | None, namespace: dict[str, object]) -> None:
    """Let go of what the code's variables hold: it filled the memory."""
    while frames:
        frames.tb_frame.clear()
        frames = frames.tb_next
    namespace.clear()


def _describe(
    error: BaseException,
    frames: TracebackType | None,
    text: str,
    filename: str,
) -> tuple[str, str]:
    try:
        from ktx_daemon import failures  # noqa: PLC0415 costs more than the rest of a worker

        failures.show_source(text, filename)
        return failures.summarize(error), failures.render(error, frames)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 the code may have broken what rendering needs
        name = type(error).__name__
        return name, f"{name}\n"


def _quoted(text: str) -> str:
    # The supervisor reads these as text, which lone surrogates are not.
    return quoted(text.encode(errors="backslashreplace").decode())
