"""`lcdoc stream`: a text without end on stdin, read as it comes, with digests or answers again and again."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.questions import checked_questions
from lcdoc.cli.reading import stream_reading
from lcdoc.cli.stream_output import JsonlOutput, Output, TextOutput
from lcdoc.cli.stream_request import StreamRequest
from lcdoc.cli.wishes import watch_enter, wishing
from lcdoc.config import Settings
from lcdoc.errors import UsageError
from lcdoc.tasks.stream.every import Every

EveryOption = Annotated[
    str | None,
    typer.Option(
        "--every",
        metavar="N UNIT",
        help="When a digest is due: 2000tokens, 50lines, 5m (or s, h); always at the end.",
    ),
]
Ask = Annotated[
    str | None, typer.Option(metavar="QUESTION", help="Answer this each time, instead of a digest.")
]
NotesFile = Annotated[
    Path | None, typer.Option("--notes", metavar="FILE", help="Keep the rolling notes in this file.")
]
FlushAfter = Annotated[
    float, typer.Option(metavar="SECONDS", help="Text waits no longer for a chunk to become full.")
]
StateFile = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="Save all of the state here, and go on from it. It holds the stream's content.",
    ),
]
SaveEvery = Annotated[float, typer.Option(metavar="SECONDS", help="How often the state is saved.")]
Keep = Annotated[
    int | None,
    typer.Option(help="Tokens of what left the window that stay, the best of all; 0 for none.", min=0),
]


@stream_reading
def stream_command(
    settings: Settings,
    every: EveryOption = None,
    ask: Ask = None,
    keep: Keep = None,
    notes: NotesFile = None,
    state: StateFile = None,
    flush_after: FlushAfter = 2.0,
    save_every: SaveEvery = 60.0,
    jsonl: options.Jsonl = False,
) -> int:
    """Read text without end from stdin, and tell of it again and again.

    Memory and time for each token stay the same, however long it goes on: the first tokens are held, the last ones
    (--recent-size), and the best of those between (--keep). Digests also come at the end of the text, on SIGUSR1 and on
    Enter. Ctrl-C ends with a last one.
    """
    for name, seconds in (("--flush-after", flush_after), ("--save-every", save_every)):
        if not 0 <= seconds < float("inf"):
            raise UsageError(f"{name} must be 0 seconds or more, not {seconds}")
    for name, path in (("--state", state), ("--notes", notes)):
        if path is not None and not path.parent.is_dir():
            raise UsageError(
                f"{name} {path}: there is no folder {path.parent}; make it, or name another file"
            )
    if sys.stdin is None:
        raise UsageError("stdin is closed; pipe a text into lcdoc stream")
    question = checked_questions([ask])[0] if ask is not None else None
    parsed = None if every is None else Every.of(every)
    return stream(
        StreamRequest(settings, parsed, question, keep, notes, state, flush_after, save_every, jsonl)
    )


def stream(request: StreamRequest) -> int:
    """Reads until the text ends, prints, and returns the exit code."""
    display = open_display(request.settings.appearance)
    from lcdoc.cli.stream_session import open_session

    output: Output = JsonlOutput() if request.jsonl else TextOutput()
    try:
        with wishing() as wishes:
            with interruptible():
                session = open_session(request, display, output)
            if watch_enter(wishes):
                display.say("Enter tells what was read so far; Ctrl-C ends")
            return session.follow(wishes)
    except KeyboardInterrupt:
        display.say("interrupted before anything was read")
        return INTERRUPTED
    finally:
        display.clear()
