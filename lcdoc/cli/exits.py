"""How a run ends: every error becomes one line on stderr and one exit code.

0 done                      5 the documents do not say
1 run-time failure          6 unsupported claims
2 usage                   130 interrupted
3 unreadable document     141 pipe closed
4 does not fit
"""

import errno
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO

import typer

from lcdoc.cli.sanitize import clean_line
from lcdoc.errors import LcdocError

FAILED, USAGE, NOT_SAID, UNSUPPORTED, INTERRUPTED, PIPE_CLOSED = 1, 2, 5, 6, 130, 141
SHOW_CURSOR = "\x1b[?25h"
# Typer keeps the base class of its usage errors to itself in some versions.
ParsingError: Any = typer.BadParameter.__base__


def run(command: Callable[[], Any]) -> int:
    """Calls the command and returns the exit code; nothing but a second interrupt gets past it."""
    _prepare(sys.stdout)
    _prepare(sys.stderr)
    try:
        code = _call(command)
    except BrokenPipeError:
        code = PIPE_CLOSED
    if code == PIPE_CLOSED:
        _silence(1)
    for stream in (sys.stdout, sys.stderr):
        code = _flushed(stream, code)
    return code


def complain(message: str) -> None:
    """One line on stderr."""
    if sys.stderr is not None:
        sys.stderr.write(f"lcdoc: {clean_line(message)}\n")
        sys.stderr.flush()


@contextmanager
def interruptible() -> Iterator[None]:
    """Within it the first Ctrl-C raises KeyboardInterrupt, and a second one leaves at once."""
    interrupted = False

    def on_interrupt(signum: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            leave_at_once()
        interrupted = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def leave_at_once() -> None:
    """Without a word, and with the cursor shown."""
    if os.isatty(2):
        os.write(2, f"{SHOW_CURSOR}\n".encode())
    os._exit(INTERRUPTED)


def _call(command: Callable[[], Any]) -> int:
    try:
        result = command()
        return result if isinstance(result, int) else 0
    except BrokenPipeError:
        return PIPE_CLOSED
    except SystemExit as error:
        # Typer turns a closed pipe into a plain exit, with the pipe's error as its context.
        if isinstance(error.__context__, BrokenPipeError):
            return PIPE_CLOSED
        return error.code if isinstance(error.code, int) else FAILED
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except LcdocError as error:
        complain(str(error))
        return error.exit_code
    except ParsingError as error:
        complain(f"{error.format_message()}{_help_hint(error)}")
        return USAGE
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EIO):
            return _internal(error)
        complain(f"could not write: {error.strerror}")
        return FAILED
    except Exception as error:
        return _internal(error)


def _internal(error: Exception) -> int:
    if os.environ.get("LCDOC_TRACEBACK") == "1":
        traceback.print_exception(error)
        hint = ""
    else:
        hint = " (LCDOC_TRACEBACK=1 shows where)"
    complain(f"internal error: {type(error).__name__}: {error}{hint}")
    return FAILED


def _help_hint(error: Any) -> str:
    context = getattr(error, "ctx", None)
    return f" (see '{context.command_path} --help')" if context is not None else ""


def _prepare(stream: Any) -> None:
    """No character can fail to print: files and pipes get UTF-8, a terminal its own encoding."""
    if stream is None:
        return
    if stream.isatty():
        stream.reconfigure(errors="replace")
    else:
        stream.reconfigure(encoding="utf-8", errors="replace")


def _silence(descriptor: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _flushed(stream: TextIO | None, code: int) -> int:
    """Writes out what is left; one that cannot take it is silenced, or Python would complain at its exit."""
    if stream is None:
        return code
    try:
        stream.flush()
    except OSError as error:
        _silence(stream.fileno())
        if isinstance(error, BrokenPipeError):
            return PIPE_CLOSED
        if stream is sys.stdout and code == 0:  # else what went wrong has been said
            complain(f"could not write: {error.strerror}")
        return code or FAILED
    return code
