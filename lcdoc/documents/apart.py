"""Parses a document in a process of its own: what breaks there, or takes too much, ends there.

A fork of this process where it has no other thread, which costs milliseconds; else a new Python. What comes back is
JSON, so that nothing a parser was brought to write can run here.
"""

import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lcdoc.documents.child import Parse, parse_within_limits, time_limit_s
from lcdoc.documents.document import Document, Heading, Page
from lcdoc.documents.limits import Limits
from lcdoc.errors import DocumentError

THREADS = Path("/proc/self/task")
# Parsers wait for nothing: one that takes so many times its computing has a busy machine, or is stuck.
WALL_TIMES = 6
READ_BYTES = 1 << 16
NEW_PYTHON = (sys.executable, "-P", "-c", "from lcdoc.documents.child import main; main()")


def parse_apart(parse: Parse, data: bytes, source: str, password: str | None, limits: Limits) -> Document:
    """Raises DocumentError where the parser does, where it breaks, and where it takes more than it may."""
    seconds = time_limit_s(len(data), limits)
    try:
        if _may_fork():
            reply, status = _fork(parse, data, source, password, limits)
        else:
            reply, status = _start(data, source, password, limits)
    except TimeoutError:
        reply, status = b"", -signal.SIGXCPU
    if status == 0 and reply:
        found = json.loads(reply)
        if "error" not in found:
            return _document(found)
        raise DocumentError(found["error"])
    if status == -signal.SIGXCPU:
        raise DocumentError(f"{source}: its parser took more than the limit of {seconds:,} s; split the file")
    if status == -signal.SIGKILL:
        raise DocumentError(
            f"{source}: its parser was killed, most likely for want of memory; split the file"
        )
    raise DocumentError(f"{source}: its parser broke down; the file is damaged or hostile: save it anew")


def _may_fork() -> bool:
    """Whether a fork is as whole as this process: another thread would be missing, and might hold a lock."""
    return sys.platform == "linux" and THREADS.is_dir() and len(list(THREADS.iterdir())) == 1


def _fork(parse: Parse, data: bytes, source: str, password: str | None, limits: Limits) -> tuple[bytes, int]:
    """The child's reply and exit code, below 0 for a signal. Raises TimeoutError."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(receiver)
            _be_quiet()
            reply = parse_within_limits(parse, data, source, password, limits)
            with os.fdopen(sender, "wb") as pipe:
                pipe.write(reply)
            status = 0
        finally:
            os._exit(status)  # nothing of the parent's is flushed or torn down
    os.close(sender)
    ended = False
    try:
        reply = _receive(receiver, WALL_TIMES * time_limit_s(len(data), limits))
        ended = True
    finally:
        os.close(receiver)
        if not ended:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
    return reply, os.waitstatus_to_exitcode(status)


def _be_quiet() -> None:
    """Ctrl-C is for the parent, and what a parser prints for nobody."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)


def _receive(receiver: int, timeout_s: float) -> bytes:
    """All that is sent until the other side closes."""
    pieces: list[bytes] = []
    deadline = time.monotonic() + timeout_s
    while True:
        ready, _, _ = select.select([receiver], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        piece = os.read(receiver, READ_BYTES)
        if not piece:
            return b"".join(pieces)
        pieces.append(piece)


def _start(data: bytes, source: str, password: str | None, limits: Limits) -> tuple[bytes, int]:
    """As _fork, in a new Python."""
    order = json.dumps({"source": source, "password": password, "limits": asdict(limits)})
    try:
        done = subprocess.run(
            NEW_PYTHON,
            input=order.encode() + b"\n" + data,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=WALL_TIMES * time_limit_s(len(data), limits),
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    return done.stdout, done.returncode


def _document(found: dict[str, Any]) -> Document:
    """From what asdict made of one, after JSON."""
    pages = tuple(Page(**{**page, "warnings": tuple(page["warnings"])}) for page in found["pages"])
    headings = tuple(Heading(**heading) for heading in found["headings"])
    whole = {"pages": pages, "headings": headings, "warnings": tuple(found["warnings"])}
    return Document(**{**found, **whole})
