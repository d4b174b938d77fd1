"""One run of `lcdoc stream`: the stream, the pipe it comes through, and the files that it is kept in."""

import sys

from lcdoc.cli.display import Display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.measures import bytes_text, count
from lcdoc.cli.models import require_model
from lcdoc.cli.sanitize import clean_line
from lcdoc.cli.stream_output import Output, held_line
from lcdoc.cli.stream_request import StreamRequest
from lcdoc.cli.stream_resuming import open_journal, open_state, take_up
from lcdoc.errors import DocumentError, LcdocError
from lcdoc.tasks.host import Host
from lcdoc.tasks.progress import Progress
from lcdoc.tasks.stream.digest import Digest
from lcdoc.tasks.stream.feed import Feed
from lcdoc.tasks.stream.following import Following
from lcdoc.tasks.stream.notes import Note
from lcdoc.tasks.stream.opening import StreamWish, open_stream
from lcdoc.tasks.stream.state import State
from lcdoc.tasks.stream.stream import Stream
from lcdoc.tasks.stream.wishes import Wishes


def open_session(request: StreamRequest, display: Display, output: Output) -> "Session":
    """Loads the model, and what was saved."""
    settings = request.settings.read
    require_model(settings.model, display)
    display(Progress("load", 0, 0, 0.0, 0, 0))
    host = Host(settings)
    wish = StreamWish(request.question, request.keep_tokens, True if request.notes is not None else None)
    stream = open_stream(settings, wish, request.settings.sampling, host)
    return Session(request, stream, host, display, output)


class Session:
    """Making it takes up what was saved."""

    def __init__(
        self, request: StreamRequest, stream: Stream, host: Host, display: Display, output: Output
    ) -> None:
        self._request, self._stream, self._host = request, stream, host
        self._display, self._output = display, output
        self._descriptor = sys.stdin.fileno()
        self._journal_said = False
        self._saved_bytes = 0  # of the stream, up to the last save
        self._state: State | None = None
        journal = None
        if request.state is not None:
            self._state = open_state(request.state, request, stream, host)
            saved = self._state.load(stream)
            journal = open_journal(self._state, self._descriptor, stream, saved)
            for line in take_up(saved, journal, stream):
                display.say(line)
        self._journal = journal
        self._feed = Feed(self._descriptor, self._journal, stream.taken_bytes)
        stream.on_note = self._keep_note
        stream.start()

    def follow(self, wishes: Wishes) -> int:
        """Until the text ends; returns the exit code."""
        request = self._request
        sizes = self._stream.reading.sizes
        self._display.say(
            f"holding the first {sizes.sink - self._stream.head_tokens:,} tokens, the last {sizes.window:,} and the "
            f"best {sizes.keep:,} between; no position beyond {sizes.capacity:,} of {self._stream.context_tokens:,}"
        )
        self._output.start(sizes, self._stream.tokens_read)
        self._following = Following(
            self._stream,
            self._feed,
            wishes,
            every=request.every,
            flush_after_s=request.flush_after_s,
            on_digest=self._tell,
            save=self._save if self._state is not None else None,
            save_every_s=request.save_every_s,
            meter=self._host.meter,
            budget_bytes=self._host.budget_bytes,
            observer=self._display,
        )
        self._feed.start()
        try:
            finished = self._following.run()
        except BrokenPipeError:  # nobody reads what is told; what was read is kept all the same
            self._following.save()
            raise
        self._display.clear()
        return self._end(finished)

    def _tell(self, digest: Digest) -> None:
        self._display.clear()
        waiting = self._feed.waiting_bytes
        self._output.digest(digest, self._following.lag_s, waiting)
        lag = f"lag {self._following.lag_s:.1f} s, {bytes_text(waiting)} waiting"
        self._display.say(f"{held_line(digest.held)}; {lag}")
        if digest.written_by != "model":
            self._display.say("the model wrote nothing of use; these are the stream's own sentences")
        if not digest.complete:
            self._display.say("it was cut at its length limit; --max-new-tokens allows more")
        self._display.resume()

    def _save(self) -> None:
        assert self._state is not None
        if self._feed.journal_error is not None and not self._journal_said:
            self._journal_said = True
            self._display.say(
                f"{self._state.path}.journal takes no more ({self._feed.journal_error.strerror}): a killed process "
                f"loses what came since its last save"
            )
        try:
            self._state.save(self._stream)
            if self._journal is not None:
                self._journal.forget(self._stream.taken_bytes)
        except (LcdocError, OSError) as error:
            self._display.say(f"not saved, the reading goes on: {error}")
            return
        self._saved_bytes = self._stream.taken_bytes
        self._output.saved(self._stream.held())

    def _keep_note(self, note: Note) -> None:
        """At the end of the file, which holds what it held; a stretch that is read again after a restart has its note
        there already."""
        self._output.note(note)
        path = self._request.notes
        if path is None:
            return
        line = f"[tokens {note.start:,}-{note.stop:,}] {clean_line(note.text)}\n".encode()
        try:
            path.touch(mode=0o600)
            with path.open("a+b") as file:
                file.seek(0)
                if line not in file.readlines():
                    file.write(line)
        except OSError as error:
            self._display.say(f"{path}: a note can't be written, the reading goes on: {error.strerror}")

    def _end(self, finished: bool) -> int:
        stream, unread = self._stream, self._feed.waiting_bytes
        self._output.end(stream.held(), finished, unread)
        if finished:
            if not stream.tokens_read:
                raise DocumentError("stdin: no text came; pipe one into lcdoc stream")
            return 0
        where = f"interrupted after {count(stream.tokens_read, 'token')}"
        waiting = stream.waiting_tokens
        if unread or waiting:
            later = "will be read when it goes on" if self._state is not None else "was not read"
            where += f"; what had come besides ({bytes_text(unread)} and {count(waiting, 'token')}) {later}"
        self._display.say(where)
        if self._request.state is not None and self._saved_bytes == stream.taken_bytes:
            self._display.say(f"all of it is in {self._request.state}, and the same command goes on")
        return INTERRUPTED
