"""A child process that parses one document: what it may take, and what it says of it, as JSON."""

import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from lcdoc.documents.document import Document
from lcdoc.documents.limits import MEBIBYTE, Limits
from lcdoc.errors import DocumentError

Parse = Callable[[bytes, str, str | None, Limits], Document]


def parse_within_limits(
    parse: Parse, data: bytes, source: str, password: str | None, limits: Limits
) -> bytes:
    """The document, or {"error": one line}. From here on the process can take no more than it may."""
    _limit(len(data), limits)
    try:
        found = asdict(parse(data, source, password, limits))
    except DocumentError as failure:
        found = {"error": str(failure)}
    except MemoryError:
        most = limits.parser_bytes // MEBIBYTE
        found = {"error": f"{source}: its parser needs more than the limit of {most:,} MiB; split the file"}
    except Exception as failure:  # hostile files make parsers raise anything
        words = " ".join(f"{type(failure).__name__}: {failure}".split())[:120]
        found = {"error": f"{source}: its parser broke on it ({words}); save or export it anew"}
    return json.dumps(found).encode()


def time_limit_s(num_bytes: int, limits: Limits) -> int:
    """Seconds of computing that a file of so many bytes may take."""
    return limits.parser_s + num_bytes // limits.parser_bytes_per_s


def main() -> None:
    """A new Python's work: a line of JSON and the document's bytes come from stdin, the answer goes to stdout."""
    from lcdoc.documents.load import parse

    order = json.loads(sys.stdin.buffer.readline())
    limits = Limits(**order["limits"])
    reply = parse_within_limits(parse, sys.stdin.buffer.read(), order["source"], order["password"], limits)
    sys.stdout.buffer.write(reply)


def _limit(num_bytes: int, limits: Limits) -> None:
    """Memory beyond what the process has already, its time, and no file written."""
    if sys.platform == "win32":
        return
    import resource

    held_bytes = 0
    if (sizes := Path("/proc/self/statm")).is_file():
        held_bytes = int(sizes.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    seconds = time_limit_s(num_bytes, limits)
    for kind, most in (
        (resource.RLIMIT_AS, held_bytes + limits.parser_bytes),
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(kind)
        if hard == resource.RLIM_INFINITY or most <= hard:
            resource.setrlimit(kind, (most, hard))
