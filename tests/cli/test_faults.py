"""What becomes of `lcdoc ask` when something fails, at each of its stages: an outcome for each fault.

A pipe that closes and a second Ctrl-C are in test_ask.py, what a store's damaged files do in tests/store.
"""

import errno
import itertools
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lcdoc.documents import apart, load
from lcdoc.engine.reader import Reader
from lcdoc.store import store
from lcdoc.tasks import host, storing
from lcdoc.tokens import TextStream

Run = Callable[..., subprocess.CompletedProcess[str]]
Patch = pytest.MonkeyPatch
PAGE = "<html><body><p>The safe opens with 7731.</p></body></html>"


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*args: Any, **options: Any) -> Any:
        raise error

    return fail


def interrupted(*args: Any, **options: Any) -> None:
    signal.raise_signal(signal.SIGINT)


def before(patch: Patch, owner: Any, name: str, fault: Callable[..., Any]) -> None:
    """The fault, then the thing itself."""
    real = getattr(owner, name)

    def faulty(*args: Any, **options: Any) -> Any:
        fault()
        return real(*args, **options)

    patch.setattr(owner, name, faulty)


def parser(patch: Patch, work: Callable[..., Any]) -> None:
    """In the parsers' own process."""
    patch.setattr(apart, "_may_fork", lambda: True)
    patch.setattr(load, "_read", work)


def full_disk(patch: Patch) -> None:
    patch.setattr(storing, "LEAST_TOKENS", 1)
    patch.setattr(store, "write_block", raising(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))))


def jumping_clock(patch: Patch) -> None:
    jumps = itertools.cycle((0.0, 7200.0, -7200.0))
    real = time.time
    patch.setattr(time, "time", lambda: real() + next(jumps))


# What fails: how, the exit code, what stdout holds, and what stderr says.
FAULTS: dict[str, tuple[Callable[[Patch], None], int, str, str]] = {
    "no memory to parse": (
        lambda p: parser(p, raising(MemoryError())),
        3,
        "",
        "needs more than the limit of 2,048 MiB",
    ),
    "no memory to load": (
        lambda p: p.setattr(host, "load_model", raising(MemoryError())),
        4,
        "",
        "an allocation failed: no memory left",
    ),
    "no memory to read": (
        lambda p: p.setattr(Reader, "_read_chunk", raising(MemoryError())),
        4,
        "",
        "an allocation failed after 0 tokens",
    ),
    "no memory to answer": (
        lambda p: p.setattr(TextStream, "push", raising(MemoryError())),
        4,
        "",
        "an allocation failed after 27 tokens",
    ),
    "parser raises": (
        lambda p: parser(p, raising(ValueError("odd"))),
        3,
        "",
        "its parser broke on it (ValueError: odd)",
    ),
    "parser killed": (
        lambda p: parser(p, lambda *a: os.kill(os.getpid(), signal.SIGKILL)),
        3,
        "",
        "its parser was killed",
    ),
    "parser crashes": (
        lambda p: parser(p, lambda *a: os.kill(os.getpid(), signal.SIGSEGV)),
        3,
        "",
        "its parser broke down",
    ),
    "Ctrl-C while parsing": (
        lambda p: before(p, apart, "_document", interrupted),
        130,
        "",
        "interrupted before anything was read",
    ),
    "Ctrl-C while loading": (
        lambda p: before(p, host, "load_model", interrupted),
        130,
        "",
        "interrupted before anything was read",
    ),
    "Ctrl-C while reading": (
        lambda p: before(p, Reader, "_read_chunk", interrupted),
        130,
        "",
        "interrupted after reading 0 of",
    ),
    "Ctrl-C while answering": (
        lambda p: before(p, TextStream, "push", interrupted),
        130,
        "",
        "interrupted and is not complete",
    ),
    "disk full": (full_disk, 0, "Yes.\n", "nothing more is stored"),
    "clock jumps": (jumping_clock, 0, "Yes.\n", "read 27 of 27 tokens"),
}


@pytest.mark.parametrize(("inject", "code", "printed", "said"), FAULTS.values(), ids=FAULTS.keys())
def test_fault(
    call_lcdoc: Run,
    tmp_path: Path,
    monkeypatch: Patch,
    parrot: str,
    inject: Callable[[Patch], None],
    code: int,
    printed: str,
    said: str,
) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    inject(monkeypatch)
    done = call_lcdoc("ask", "a.html", "Does it open?", "--model", parrot)
    assert (done.returncode, done.stdout) == (code, printed), done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr and "internal error" not in done.stderr


HOMELESS = dict.fromkeys(
    ("HOME", "LCDOC_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"), "/proc/none"
)
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
# What the process is given: streams, environment, the exit code, what stdout holds, and what stderr says.
SURROUNDINGS: dict[str, tuple[dict[str, str | None], dict[str, str], int, str, str]] = {
    "stdin closed": ({"stdin": None}, {}, 0, "Yes.\n", "exact"),
    "stdout closed": ({"stdout": None}, {}, 0, "", "exact"),
    "stderr closed": ({"stderr": None}, {}, 0, "Yes.\n", ""),
    "stdout full": ({"stdout": "/dev/full"}, {}, 1, "", "could not write: No space left on device"),
    "ASCII locale": ({}, ASCII, 0, "Yes.\n", "exact"),
    "no home": ({}, HOMELESS, 0, "Yes.\n", "exact"),
}


@pytest.mark.parametrize(
    ("streams", "env", "code", "printed", "said"), SURROUNDINGS.values(), ids=SURROUNDINGS.keys()
)
def test_surroundings(
    run_lcdoc: Run,
    tmp_path: Path,
    parrot: str,
    streams: dict[str, str | None],
    env: dict[str, str],
    code: int,
    printed: str,
    said: str,
) -> None:
    (tmp_path / "a.html").write_text(PAGE)
    ask = ("ask", "a.html", "Does it open?", "--model", parrot)
    done = run_lcdoc(*ask, env=env, streams=streams)
    assert (done.returncode, done.stdout) == (code, printed), done.stderr
    assert said in done.stderr and "Traceback" not in done.stderr and "internal error" not in done.stderr


@pytest.mark.parametrize("columns", [80, 20])
def test_a_terminal_of_so_many_columns(
    terminal: Callable[..., Any], work: Path, parrot: str, columns: int
) -> None:
    """The panel is drawn over itself, line by line: of its lines none may be one that the terminal wraps."""
    (work / "a.html").write_text(PAGE)
    code, screen = terminal("ask", "a.html", "Does it open?", "--model", parrot, columns=columns).end()
    assert code == 0 and "Yes.\r\n" in screen and "Traceback" not in screen
    panel, shown, _ = screen.rpartition("\x1b[?25h")
    lines = re.split(r"[\r\n]+", re.sub(r"\x1b\[[\d;?]*[a-zA-Z]", "", panel))
    drawn = [line for line in lines if not line.startswith("plan: ")]
    assert shown and "parsing" in drawn and max(map(len, drawn)) <= columns
