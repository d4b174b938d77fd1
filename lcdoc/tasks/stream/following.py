"""Following a stream: reads what comes, tells of it when that is due or asked for, and saves at intervals."""

import time
from collections.abc import Callable

from lcdoc.engine.memory import MemoryMeter
from lcdoc.tasks.progress import Observer, StreamProgress
from lcdoc.tasks.stream.digest import Digest
from lcdoc.tasks.stream.every import LINES, TIME, TOKENS, Every
from lcdoc.tasks.stream.feed import Feed
from lcdoc.tasks.stream.stream import Stream
from lcdoc.tasks.stream.wishes import Wishes

# How long to wait for text before looking at the clock and at what is wished for.
TICK_S = 0.1
# Speed is shown over so much of the past.
RATE_S = 10.0


class Following:
    """on_digest hears each digest; save keeps the state, and is called no more often than every save_every_s."""

    def __init__(
        self,
        stream: Stream,
        feed: Feed,
        wishes: Wishes,
        *,
        every: Every | None,
        flush_after_s: float,
        on_digest: Callable[[Digest], None],
        save: Callable[[], None] | None,
        save_every_s: float,
        meter: MemoryMeter,
        budget_bytes: int,
        observer: Observer,
    ) -> None:
        """every: None for a digest at the end alone. flush_after_s: so long may text wait for more to be read with."""
        self._stream, self._feed, self._wishes, self._every = stream, feed, wishes, every
        self._flush_after_s, self._on_digest = flush_after_s, on_digest
        self._save, self._save_every_s = save, save_every_s
        self._meter, self._budget_bytes, self._observer = meter, budget_bytes, observer
        self._told_s = self._saved_s = time.monotonic()
        # Since when text waits to be read.
        self._came_s: float | None = self._told_s if stream.waiting else None
        self._samples = [(self._told_s, stream.tokens_read)]
        self._final = False

    def run(self) -> bool:
        """Until the stream ends; False where the end was wished for before."""
        while not self._wishes.stop.is_set():
            self._take()
            progressed = self._step()
            if self._wishes.digest.is_set():
                self._wishes.digest.clear()
                self._read_all()
                self._tell("asked")
            elif self._is_time():
                self._read_all()
                self._told_s = time.monotonic()
                if self._stream.new_tokens:
                    self._tell("every")
            if self._final and not progressed and not self._stream.waiting:
                if self._stream.new_tokens:
                    self._tell("end")
                self.save()
                return True
            if time.monotonic() - self._saved_s >= self._save_every_s:
                self.save()
        self._stream.flush(words=False)
        if self._stream.waiting_tokens <= self._stream.reading.sizes.chunk:  # else it would take too long
            self._read_all()
        if self._stream.new_tokens:
            self._tell("interrupted")
        self.save()
        return False

    def save(self) -> None:
        """Now, where anything is to be saved at all."""
        if self._save is not None:
            self._save()
        self._saved_s = time.monotonic()

    @property
    def lag_s(self) -> float:
        """How long what came first of what is not read yet has been waiting."""
        waited_s = time.monotonic() - self._came_s if self._came_s is not None else 0.0
        return max(self._feed.lag_s, waited_s)

    def _take(self) -> None:
        """More text, unless a chunk of it waits already."""
        stream = self._stream
        if self._final or stream.waiting_tokens >= stream.reading.sizes.chunk:
            return
        if data := self._feed.take(TICK_S if not stream.waiting else TICK_S / 10):
            stream.push(data)
            self._came_s = self._came_s or time.monotonic()
        elif self._feed.ended:
            stream.push(b"", final=True)
            self._final = True

    def _step(self) -> bool:
        """Reads a chunk of what waits where there is one, or where it should wait no longer; and tells where that makes
        a digest due. Returns whether anything was read."""
        stream, chunk = self._stream, self._stream.reading.sizes.chunk
        if self._is_due():
            self._tell("every")
        tokens, lines = self._left(TOKENS, stream.new_tokens), self._left(LINES, stream.new_lines)
        room = chunk if tokens is None else min(chunk, tokens)
        late = self._came_s is not None and time.monotonic() - self._came_s >= self._flush_after_s
        if late:
            stream.flush(words=True)
        whole = lines is not None and stream.waiting_lines >= lines
        if not stream.waiting or not (late or whole or stream.waiting_tokens >= room or self._final):
            self._came_s = None if late else self._came_s
            return False
        stream.read(room, lines)
        if not stream.waiting:
            self._came_s = None
        self._report("stream")
        if self._is_due():
            self._tell("every")
        return True

    def _is_due(self) -> bool:
        """By what was read."""
        stream = self._stream
        return 0 in (self._left(TOKENS, stream.new_tokens), self._left(LINES, stream.new_lines))

    def _left(self, unit: str, done: int) -> int | None:
        """Until a digest is due, in this unit; None where it isn't due by it."""
        if self._every is None or self._every.unit != unit:
            return None
        return max(0, int(self._every.amount) - done)

    def _is_time(self) -> bool:
        every = self._every
        return every is not None and every.unit == TIME and time.monotonic() - self._told_s >= every.amount

    def _read_all(self) -> None:
        """What has been taken so far, also of words that have not ended."""
        self._stream.flush(words=False)
        while self._stream.waiting:
            self._stream.read(self._stream.reading.sizes.chunk)
            self._report("stream")
        self._came_s = None

    def _tell(self, reason: str) -> None:
        if not self._stream.tokens_read:
            return
        self._report("tell")
        self._on_digest(self._stream.tell(reason))
        self._told_s = time.monotonic()

    def _report(self, phase: str) -> None:
        now, read = time.monotonic(), self._stream.tokens_read
        self._samples.append((now, read))
        while len(self._samples) > 2 and self._samples[1][0] < now - RATE_S:
            self._samples.pop(0)
        first_s, first = self._samples[0]
        self._observer(
            StreamProgress(
                phase,
                read,
                0,
                (read - first) / max(now - first_s, 1e-9),
                self._stream.reading.reader.cache.nbytes,
                self._meter.now_bytes(),
                self._budget_bytes,
                waiting_bytes=self._feed.waiting_bytes,
                lag_s=self.lag_s,
            )
        )
