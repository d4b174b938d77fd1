"""A text without end, read by one model as it comes: `push` takes bytes, `read` reads, `tell` says what it holds."""

import time
from collections import deque
from collections.abc import Callable
from typing import Any

from lcdoc.engine.stream_reader import StreamReader
from lcdoc.tasks.stream.digest import ANSWER, DIGEST, Digest
from lcdoc.tasks.stream.held import Held, Offsets, Span, runs
from lcdoc.tasks.stream.intake import Intake, Piece
from lcdoc.tasks.stream.notes import Note
from lcdoc.tasks.stream.teller import MODEL, Teller
from lcdoc.tokens import Prompt

# Of the bytes that came last, so many tell a file that goes on from another one.
LAST_BYTES = 1024


class Stream:
    """keeps_notes: whether notes are taken of whatever leaves the window. taken_bytes: pushed. new_tokens, new_lines:
    read since the last digest."""

    def __init__(
        self,
        reading: StreamReader,
        teller: Teller,
        prompt: Prompt,
        *,
        keeps_notes: bool,
        context_tokens: int,
    ) -> None:
        """prompt: what stands around the text. context_tokens: the model's window."""
        self.reading, self.teller, self._prompt = reading, teller, prompt
        self.keeps_notes, self.context_tokens = keeps_notes, context_tokens
        self.intake = Intake()
        self.head_tokens = len(prompt.head_ids())
        self.waiting: deque[tuple[list[int], int]] = (
            deque()
        )  # tokens not read yet, and lines that end with them
        self.taken_bytes = self.num_lines = 0
        self.last_bytes = b""
        self.new_tokens = self.new_lines = 0
        self.noted_tokens = 0
        self.on_note: Callable[[Note], None] = lambda note: None  # hears each that is taken

    @property
    def head_text(self) -> str:
        """What stands before the text."""
        return self._prompt.head

    def start(self) -> None:
        """Reads what stands before the text, where nothing was read yet."""
        if not self.reading.seen_tokens:
            self.reading.read(self._prompt.head_ids())

    @property
    def tokens_read(self) -> int:
        """Of the text."""
        return max(0, self.reading.seen_tokens - self.head_tokens)

    @property
    def waiting_tokens(self) -> int:
        return sum(len(ids) for ids, _ in self.waiting)

    @property
    def waiting_lines(self) -> int:
        return sum(lines for _, lines in self.waiting)

    def push(self, data: bytes, final: bool = False) -> None:
        """Takes what came; final: no more will."""
        self.taken_bytes += len(data)
        self.last_bytes = (self.last_bytes + data)[-LAST_BYTES:]
        self._wait(self.intake.push(data, final))

    def flush(self, words: bool) -> None:
        """What came of a line that has not ended can be read, too. words: but for a word that has not."""
        self._wait(self.intake.rest(words))

    def _wait(self, pieces: list[Piece]) -> None:
        for piece in pieces:
            self.waiting.append((self._prompt.plain_ids(piece.text), piece.lines))

    def read(self, most_tokens: int, most_lines: int | None = None) -> int:
        """Reads what waits, at most so many tokens and up to the end of so many lines; returns how many tokens."""
        ids: list[int] = []
        lines = 0
        while self.waiting and len(ids) < most_tokens and (most_lines is None or lines < most_lines):
            piece, ends = self.waiting.popleft()
            room = most_tokens - len(ids)
            if len(piece) > room:
                self.waiting.appendleft((piece[room:], ends))
                piece, ends = piece[:room], 0
            ids += piece
            lines += ends
        self._read(ids)
        self.num_lines += lines
        self.new_lines += lines
        return len(ids)

    def _read(self, ids: list[int]) -> None:
        window = self.reading.sizes.window
        while ids:
            room = len(ids)
            if self.keeps_notes:  # before what no note tells of leaves the window
                if self.tokens_read - self.noted_tokens >= window:
                    self.take_note()
                room = min(room, self.noted_tokens + window - self.tokens_read)
            piece, ids = ids[:room], ids[room:]
            self.reading.read(piece)
            self.new_tokens += len(piece)

    def take_note(self) -> None:
        """Of what was read since the last one."""
        draft, _ = self.teller.summary(self.tokens_read - self.noted_tokens)
        self._add_note(draft.text)

    def _add_note(self, text: str) -> None:
        added = self.teller.notes.add(self.noted_tokens, self.tokens_read, text)
        self.noted_tokens = self.tokens_read
        if added is not None:
            self.on_note(added)

    def tell(self, reason: str) -> Digest:
        """A digest, or the answer to the question, of all that was read. reason: see Digest."""
        started = time.perf_counter()
        question, writer = self.teller.question, MODEL
        if question is not None:
            draft = self.teller.answer()
        else:
            draft, writer = self.teller.summary(self.new_tokens)
        new_tokens, self.new_tokens, self.new_lines = self.new_tokens, 0, 0
        if question is None and self.keeps_notes:
            self._add_note(draft.text)
        return Digest(
            kind=DIGEST if question is None else ANSWER,
            reason=reason,
            question=question,
            text=draft.text,
            written_by=writer,
            complete=not draft.cut,
            new_tokens=new_tokens,
            seconds=time.perf_counter() - started,
            held=self.held(),
        )

    def held(self) -> Held:
        """The receipt."""
        reading, head = self.reading, self.head_tokens
        offsets = (reading.held.offsets - head).tolist()
        sink_stop = min(len(offsets), reading.sizes.sink)
        kept_stop = sink_stop + reading.num_kept
        first = offsets[kept_stop] if kept_stop < len(offsets) else self.tokens_read
        spans = [self._span(start, stop, offsets) for start, stop in runs(offsets[sink_stop:kept_stop])]
        return Held(
            offsets=Offsets(self.taken_bytes, self.tokens_read, self.num_lines),
            head_tokens=head,
            sinks=self._span(0, sink_stop - head, offsets),
            kept=tuple(spans),
            window=Span(first, self.tokens_read, ""),
            tokens_dropped=reading.seen_tokens - len(offsets),
            notes_tokens=self.teller.notes.num_tokens,
            noted_tokens=self.noted_tokens,
            notes_condensed=max((note.times for note in self.teller.notes.entries), default=0),
            replaced_chars=self.intake.num_replaced,
            kv_bytes=reading.reader.cache.nbytes,
            highest_position=reading.sizes.capacity - 1,
            context_tokens=self.context_tokens,
        )

    def _span(self, start: int, stop: int, offsets: list[int]) -> Span:
        if stop <= start:
            return Span(0, 0, "")
        first = offsets.index(start)
        text: Any = self._prompt.tokenizer.decode(self.reading.held.token_ids[first : first + stop - start])
        return Span(start, stop, str(text))
