"""Taking up what an earlier run of `lcdoc stream` saved: its state, and what came since, in a journal or a file."""

import os
import stat
import time
from dataclasses import asdict
from pathlib import Path

from lcdoc.cli.measures import bytes_text, clock, count
from lcdoc.cli.stream_request import StreamRequest
from lcdoc.errors import UsageError
from lcdoc.tasks.host import Host
from lcdoc.tasks.own_profile import weights_sha256
from lcdoc.tasks.stream.journal import Journal
from lcdoc.tasks.stream.state import Saved, State
from lcdoc.tasks.stream.stream import Stream


def open_state(path: Path, request: StreamRequest, stream: Stream, host: Host) -> State:
    """The state's file, with all that a state can't be gone on with without."""
    sizes = asdict(stream.reading.sizes)
    del sizes["after"]
    way = {
        "model": host.files.name,
        "weights": [weights_sha256(host.files), request.settings.read.weights],
        "dtype": host.dtype_name,
        "device": host.device.type,
        "sizes": sizes,
        "prompt": stream.head_text,
    }
    return State(path, way)


def open_journal(state: State, descriptor: int, stream: Stream, saved: Saved | None) -> Journal | None:
    """Of a pipe. Of a file nothing can be lost: it goes on where it was, and has none. Raises UsageError for another
    file."""
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        return Journal(Path(f"{state.path}.journal"))
    if saved is not None:
        last = stream.last_bytes
        if os.pread(descriptor, len(last), saved.taken_bytes - len(last)) != last:
            raise UsageError(
                f"the {saved.taken_bytes:,} bytes that {state.path} was saved after are not those that stdin begins "
                f"with; give the same text, or another file with --state"
            )
        os.lseek(descriptor, saved.taken_bytes, os.SEEK_SET)
    return None


def take_up(saved: Saved | None, journal: Journal | None, stream: Stream) -> list[str]:
    """Brings stream and journal to the same place. Returns what is gone on with, and what is missed, in words."""
    missed, told = "nothing of the file is missed", []
    if journal is not None:
        taken = stream.taken_bytes
        if saved is None and journal.start:  # what it followed is gone
            journal.restart(0)
        elif taken > journal.stop:
            journal.restart(taken)
            missed = "what was taken after that is missed: there is no journal of it"
        elif taken < journal.start:
            missed = f"{journal.start - taken:,} bytes that came after that are missed"
            stream.taken_bytes = journal.start
        else:
            missed = (
                f"{journal.stop - taken:,} bytes that were taken after that are read from the journal; what was sent "
                f"while nobody was reading is not known"
            )
        if saved is None and journal.stop:
            told.append(f"{journal.stop:,} bytes that were taken before are read from the journal")
    if saved is not None:
        ago = clock(max(0.0, time.time() - saved.saved_s))
        told.append(
            f"going on after {count(stream.tokens_read, 'token')} ({bytes_text(saved.taken_bytes)}), saved {ago} ago; "
            f"{missed}"
        )
        if saved.question != stream.teller.question:
            told.append(f"what was kept so far was kept for another question: {saved.question}")
    return told
