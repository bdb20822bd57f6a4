"""A worker: takes requests, runs their code as `__main__`, reports.

A worker serves one call that ends with the interpreter, as a script does, or
the calls of a session, one after the other, in one `__main__`. It talks to its
supervisor in frames over descriptors of its own; the code's output never meets
them. It is forked from a warm parent (`nursery`), or an interpreter runs
`main`.

Imports are kept to built-in modules and those that every interpreter has loaded
at start-up: this is on the path of every call.
"""

from __future__ import annotations

import atexit
import gc
import os
import sys

from ktx_daemon.ending import Ending, flush
from ktx_daemon.frames import MAX_FIELD, Channel
from ktx_daemon.source import LAST_VALUE, Sources
from ktx_daemon.values import UnserializableError, encode, quoted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, TracebackType


# What is reported of a call that a signal handler ends, but not the code of it.
_INTERRUPTED = (b"exception", b"A signal handler raised an exception", b"", b"")

# What is reported where there is no memory to say more.
_NO_MEMORY = (b"memory", b"MemoryError", b"", b"")

# Memory that is kept back for failures. Nothing is written to it, so it takes
# up no more than addresses.
_RESERVE = 4 * 1024 * 1024

# More than compiling takes for one character.
_CHARACTER = 1024


class UnreadableError(Exception):
    """What the call works on is in a form that Python does not read."""


class Request:
    """What to run, as the supervisor wrote it."""

    def __init__(self, fields: list[bytes]) -> None:
        """Take the fields in the order in which they are sent."""
        _, form, filename, cwd, upstream_form, upstream, code, args, env = fields
        self.form = form
        self.filename = filename.decode()
        self.cwd = cwd.decode()
        self.upstream_form = upstream_form
        self.upstream = upstream
        self.code = code.decode()
        self.args = args.decode().split("\0")[:-1]
        self.env = env.decode().split("\0")[:-1]


class Report:
    """The value or the failure of a call, on its way to the supervisor."""

    def __init__(self, channel: Channel) -> None:
        """Report to `channel`, from this process and no child of it."""
        self._channel = channel
        self._owner = os.getpid()
        # A list, because clearing it takes no memory, as calling a function of
        # one's own does.
        self.reserve = [bytes(_RESERVE)]

    def value(self, data: bytes) -> None:
        """Keep the call's value."""
        if len(data) > MAX_FIELD:
            self.failure("unserializable", f"value takes {len(data)} bytes, more than {MAX_FIELD}")
        else:
            self._channel.report = (b"value", data)

    def failure(self, kind: str, message: str, traceback: str = "", status: str = "") -> None:
        """Keep the call's failure."""
        texts = (message, traceback, status)
        self._channel.report = (kind.encode(), *map(_text, texts))

    def in_child(self) -> bool:
        """Return whether the code forked and this is the child."""
        return os.getpid() != self._owner

    def send(self) -> bool:
        """Report what was kept, after all output; return whether anybody reads it."""
        if self.in_child():
            return False
        flush()
        try:
            return self._channel.send()
        except MemoryError:
            self.reserve.clear()
            self._channel.replace(_NO_MEMORY)
            return self._channel.send()

    def refill(self) -> None:
        """Keep memory back again, if there is enough."""
        try:  # noqa: SIM105 `contextlib` takes long to import
            self.reserve.append(bytes(_RESERVE))
        except MemoryError:
            pass


class Calls:
    """One `__main__` and the calls that run in it."""

    def __init__(self, report: Report, *, is_session: bool) -> None:
        """Replace `__main__` by an empty module."""
        self._report = report
        self._is_session = is_session
        self._sources = Sources()
        main_module = type(sys)("__main__")
        self._namespace: dict[str, object] = main_module.__dict__
        self._namespace["__builtins__"] = sys.modules["builtins"]
        self._namespace["__loader__"] = self._sources
        sys.modules["__main__"] = main_module

    def run(self, request: Request) -> int:
        """Run the code and leave what came of it in the report; return a status."""
        try:
            return self._run(request)
        except BaseException as error:  # noqa: BLE001 every exception is reported
            try:
                self._report.reserve.clear()
                return self._raised(error)
            except MemoryError:
                return self._failed(error)
            except BaseException as late:  # noqa: BLE001 a signal handler's
                return self._failed(late)

    def _run(self, request: Request) -> int:
        filename = self._sources.add(request.code, request.filename)
        try:
            self._enter(request)
        except UnreadableError as error:
            self._report.failure("exception", str(error))
            return 1
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 a directory that is gone, a variable with no name
            self._report.failure("exception", f"{type(error).__name__}: {error}")
            return 1
        try:
            code = self._sources.compiled(filename)
        except (SyntaxError, ValueError, OverflowError, RecursionError) as error:
            return self._syntax(error)
        except MemoryError as error:
            if not _is_too_complex(error, request.code):
                raise
            return self._syntax(error)
        leaving = self._execute(code)
        if leaving:
            return self._left(leaving, request.form)
        return self._value(request.form)

    def _execute(self, code: CodeType) -> SystemExit | None:
        # An exception that a handler passes on makes an integer of its place in
        # the function, over and over again while there is no memory for one.
        # Small integers exist already, so this function is small.
        try:
            exec(code, self._namespace)  # noqa: S102 it is what this program is for
        except SystemExit as leaving:
            return leaving
        return None

    def _enter(self, request: Request) -> None:
        """Make everything look as the request wants it."""
        namespace = self._namespace
        for name in ("_result", "upstream", "__file__"):
            namespace.pop(name, None)
        if request.filename and not request.filename.startswith("<"):
            namespace["__file__"] = request.filename
        sys.argv = [request.filename or "-c", *request.args]
        if request.cwd:
            os.chdir(request.cwd)
        for variable in request.env:
            name, _, value = variable.partition("=")
            os.environ[name] = value
            if name == "TZ" and sys.platform != "win32":
                import time  # noqa: PLC0415 few calls have a use for it

                time.tzset()
        if request.upstream_form:
            namespace["upstream"] = _read_upstream(request)

    def _value(self, form: bytes) -> int:
        last = self._namespace.pop(LAST_VALUE, None)
        if self._report.in_child():
            return 0
        value = self._namespace.get("_result", last)
        try:
            self._report.value(_encode(value, form))
        except UnserializableError as error:
            self._report.failure("unserializable", str(error))
            return 1
        return 0

    def _left(self, leaving: SystemExit, form: bytes) -> int:
        self._namespace.pop(LAST_VALUE, None)
        status = _status(leaving.code)
        if status == 0:
            return self._value(form)
        self._report.failure("exit", f"Python exited with status {status}", status=str(status))
        return status

    def _syntax(self, error: BaseException) -> int:
        from ktx_daemon import failures  # noqa: PLC0415 costs more than the rest of a worker

        self._sources.show()
        summary = failures.summarize(error)
        self._report.failure("syntax", summary, failures.render_syntax(error))
        return 1

    def _raised(self, error: BaseException) -> int:
        self._namespace.pop(LAST_VALUE, None)
        frames = _frames_of_code(error.__traceback__)
        try:
            message, shown = self._describe(error, frames)
        except MemoryError:
            self._free(error)
            message, shown = self._describe(error, frames)
        if self._report.in_child():
            sys.stderr.write(shown)
        else:
            self._report.failure(_kind(error), message, shown)
        return 1

    def _failed(self, error: BaseException) -> int:
        self._report.failure(_kind(error), type(error).__name__)
        return 1

    def _free(self, error: BaseException) -> None:
        """Let go of what the code's variables hold: it filled the memory."""
        latest: BaseException | None = error
        while latest:
            frames = latest.__traceback__
            while frames:
                try:  # noqa: SIM105 `contextlib` takes long to import
                    frames.tb_frame.clear()
                except RuntimeError:
                    pass  # it still runs
                frames = frames.tb_next
            latest = latest.__context__
        if not self._is_session:
            self._namespace.clear()
        # What holds itself is freed by nothing else.
        gc.collect()

    def _describe(self, error: BaseException, frames: TracebackType | None) -> tuple[str, str]:
        try:
            from ktx_daemon import failures  # noqa: PLC0415 costs more than the rest of a worker

            self._sources.show()
            return failures.summarize(error), failures.render(error, frames)
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 the code may have broken what rendering needs
            name = type(error).__name__
            return name, f"{name}\n"


def main() -> None:
    """Be the worker whose requests come on standard input."""
    work(Channel(_own_input(), _own_report(int(sys.argv[-1]))))


def work(channel: Channel) -> None:
    """Be the worker at `channel`, and end."""
    ending = Ending()
    status = _serve(channel)
    ending.leave(status)
    if status:
        sys.exit(status)


def _serve(channel: Channel) -> int:
    """Serve requests until they or the code end the worker; return its status."""
    channel.report = (b"ready",)
    channel.send()
    if not channel.receive():
        return 0
    report = Report(channel)
    is_session = channel.request[:1] == [b"session"]
    calls = Calls(report, is_session=is_session)
    return (_serve_session if is_session else _serve_call)(channel, report, calls)


def _serve_call(channel: Channel, report: Report, calls: Calls) -> int:
    # Exit handlers run in reverse, after all threads: these, registered before
    # any of the code's, report when those are done, whatever memory they left.
    atexit.register(report.send)
    atexit.register(report.reserve.clear)
    try:
        return calls.run(Request(channel.begin(_INTERRUPTED)))
    except MemoryError:
        report.reserve.clear()
        _blame_memory(channel)
        return 1


def _serve_session(channel: Channel, report: Report, calls: Calls) -> int:
    # Only it can tell the texts of many calls apart.
    import linecache  # noqa: F401, PLC0415 a single call has no use for it

    while True:
        try:
            return _alternate(channel, report, calls)
        except MemoryError:  # noqa: PERF203 the code keeps all that there is
            if not report.reserve:
                return 1
            report.reserve.clear()
            _blame_memory(channel)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 a signal handler's
            _complain(error)


def _alternate(channel: Channel, report: Report, calls: Calls) -> int:
    """Run and report, call by call; after an exception go on with what is due."""
    while True:
        if channel.report:
            was_lack = channel.report[0] == b"memory"
            if not report.send():
                return 0
            if was_lack:
                # What filled the memory may hold itself.
                gc.collect()
            if not report.reserve:
                report.refill()
        elif channel.request:
            status = calls.run(Request(channel.begin(_INTERRUPTED)))
            if report.in_child():
                return status
        elif not channel.receive():
            return 0


def _blame_memory(channel: Channel) -> None:
    """Report a call that was ended by no handler, but by a lack of memory."""
    if channel.report is _INTERRUPTED:
        channel.replace(_NO_MEMORY)


def _complain(error: BaseException) -> None:
    try:
        from ktx_daemon import failures  # noqa: PLC0415 costs more than the rest of a worker

        sys.stderr.write(failures.render(error, _frames_of_code(error.__traceback__)))
    except Exception:  # noqa: BLE001, S110 the code may have broken what rendering needs
        pass


def _own_input() -> int:
    """Move the requests away from the descriptor that the code may read."""
    requests = os.dup(0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    return requests


def _own_report(report: int) -> int:
    """Keep programs that the code starts from inheriting the reports."""
    if sys.platform == "win32":
        import msvcrt  # noqa: PLC0415 it exists there only

        os.set_handle_inheritable(report, False)  # noqa: FBT003 it takes no keyword
        return msvcrt.open_osfhandle(report, os.O_WRONLY | os.O_BINARY)
    os.set_inheritable(report, False)  # noqa: FBT003 it takes no keyword
    return report


def _read_upstream(request: Request) -> object:
    # What JSON allows and Python does not: very long integers and very deep
    # nesting.
    try:
        if request.upstream_form == b"msgpack":
            from ktx_daemon.packed import unpack  # noqa: PLC0415 see above

            return unpack(request.upstream)
        from json import loads  # noqa: PLC0415 most calls have no use for it

        return loads(request.upstream)
    except (ValueError, RecursionError) as error:
        reason = f"upstream cannot be read: {error}"
        raise UnreadableError(reason) from None


def _encode(value: object, form: bytes) -> bytes:
    if form == b"msgpack":
        from ktx_daemon.packed import pack  # noqa: PLC0415 it imports `msgpack`

        return pack(value)
    if form == b"repr":
        return b"null" if value is None else quoted(repr(value)).encode()
    return encode(value).encode()


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


def _kind(error: BaseException) -> str:
    # The other one is what Python says that has no memory for another frame.
    is_lack = isinstance(error, MemoryError) or (
        isinstance(error, SystemError) and error.args == ("error return without exception set",)
    )
    return "memory" if is_lack else "exception"


def _is_too_complex(error: MemoryError, text: str) -> bool:
    """Return whether a text is nested too deeply, for which `compile` blames memory."""
    # From 3.12 on it says so.
    if error.args:
        return True
    try:
        return bool(bytes(_RESERVE + _CHARACTER * len(text)))
    except MemoryError:
        return False


def _frames_of_code(frames: TracebackType | None) -> TracebackType | None:
    """Leave out the frames of this package, which come first."""
    while frames and frames.tb_frame.f_globals.get("__package__") == __package__:
        frames = frames.tb_next
    return frames


def _text(text: str) -> bytes:
    # The supervisor reads these as text, which lone surrogates are not.
    return text.encode(errors="backslashreplace")
