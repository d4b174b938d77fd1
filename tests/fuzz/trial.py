"""One file given to the reader of its format, in a process of its own, and what became of it."""

import os
import resource
import signal
import time
import traceback
from dataclasses import dataclass

from lcdoc.documents.limits import LIMITS
from lcdoc.documents.load import parse
from lcdoc.errors import DocumentError
from tests.fuzz.corpus import SUFFIXES

MAX_S, MAX_BYTES = 30, 2 * 1024**3


@dataclass(frozen=True)
class Outcome:
    """verdict: "read", "refused" (in one line), or how it broke. peak_bytes: of the process that read it."""

    verdict: str
    seconds: float
    peak_bytes: int

    @property
    def broke(self) -> bool:
        return self.verdict not in ("read", "refused") or self.seconds > MAX_S or self.peak_bytes > MAX_BYTES


def try_file(data: bytes, kind: str) -> Outcome:
    """Reads it as lcdoc's child does, less its safety nets: whatever a parser raises counts as broken."""
    receiver, sender = os.pipe()
    started = time.monotonic()
    child = os.fork()
    if child == 0:
        verdict = "died while reporting"
        try:
            signal.alarm(2 * MAX_S)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            verdict = _read(data, kind)
        finally:
            os.write(sender, verdict.encode()[:4000])
            os._exit(0)
    os.close(sender)
    with os.fdopen(receiver, "rb") as pipe:
        verdict = pipe.read().decode()
    _, status, usage = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    seconds = min(time.monotonic() - started, usage.ru_utime + usage.ru_stime)
    return Outcome(verdict if code == 0 else f"signal {-code}", seconds, usage.ru_maxrss * 1024)


def _read(data: bytes, kind: str) -> str:
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    try:
        document = parse(data, f"a.{SUFFIXES.get(kind, kind)}", None, LIMITS)
    except DocumentError as refusal:
        return "refused" if "\n" not in str(refusal) else f"refused in several lines: {refusal}"
    except BaseException:
        return traceback.format_exc()
    if any(page.text and page.unread for page in document.pages):
        return "a page that is unread has text"
    return "read"
