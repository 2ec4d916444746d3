"""Entry point of the command `zoo`: arguments -> a command -> an exit code.

Exit codes: 0 done, 1 some models failed or something broke, 2 bad use, 75 interrupted and resumable.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType, TracebackType

USE, FAILED, INTERRUPTED = 2, 1, 75


def main(arguments: Sequence[str] | None = None) -> None:
    """Run `zoo` and exit."""
    if sys.getfilesystemencoding() != "utf-8":  # file names are UTF-8 for DuckDB and Parquet alike
        os.environ["PYTHONUTF8"] = "1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
    # a terminal that knows few letters gets codes for the others
    for stream in (
        sys.stdout,
        sys.stderr,
    ):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    sys.excepthook = _say_bug
    for number in (signal.SIGINT, signal.SIGTERM):  # until a sweep drains
        signal.signal(number, _interrupt)
    try:
        code = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:  # while the command line was being imported
        code = _interrupted()
    sys.exit(code)


def _say_bug(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The traceback of what nobody expected, without secrets."""
    import traceback

    from jobs.screen.secrets import redacted

    print(redacted("".join(traceback.format_exception(kind, error, trace))), file=sys.stderr)


def _interrupted() -> int:
    print("zoo: interrupted", file=sys.stderr)
    return INTERRUPTED


class _Stop(KeyboardInterrupt):
    """Python ends by the signal, whoever caught it, once a plain KeyboardInterrupt has left an exec()
    (as in the import of a dataclass): the exit code would be 130."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise _Stop


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code. Messages for people go to standard error."""
    from cyclopts import CycloptsError

    from catalog.errors import CatalogError, DiskFullError, LeaseLostError
    from jobs.cli import app
    from jobs.screen.secrets import redacted
    from jobs.screen.text import printable
    from zoo.errors import ZooError

    try:
        code = app(list(arguments), exit_on_error=False, result_action="return_value")
        sys.stdout.flush()  # here a full disk or a closed pipe can be answered
    except CycloptsError:
        return USE  # cyclopts has printed what was wrong
    except (ZooError, CatalogError) as error:
        print(printable(redacted(f"zoo: {error}"), keep="\n"), file=sys.stderr)
        if isinstance(error, DiskFullError | LeaseLostError):
            return INTERRUPTED  # every command that writes goes on where it was
        return USE if error.cause == "use" else FAILED
    except KeyboardInterrupt:
        return _interrupted()
    except BrokenPipeError:  # `zoo rank ... | head` closed our standard output
        _drop_output()
        return 0
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        _drop_output()
        print(
            f"zoo: cannot write: {error.strerror}. What was written so far is not whole: free some space "
            "where it goes and run the same command again",
            file=sys.stderr,
        )
        return FAILED
    return code if isinstance(code, int) else 0


def _drop_output() -> None:
    """What is still to be written to standard output goes nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
