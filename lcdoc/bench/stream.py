"""Whether a text without end is read in constant memory and at constant speed: both by tenth of a long one."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any

from lcdoc.bench.subject import Subject
from lcdoc.config import ReadSettings, Sampling
from lcdoc.engine.memory import MemoryMeter
from lcdoc.engine.model_shape import ModelShape
from lcdoc.errors import UsageError
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.report import new_report
from lcdoc.fusion.heads import choose_heads
from lcdoc.models import load_tokenizer, resolve
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.plan import profile_for
from lcdoc.tasks.progress import Observer, Progress, silent
from lcdoc.tasks.stream.opening import StreamWish, choose_sizes, make_stream
from lcdoc.tasks.stream.stream import Stream

TENTHS = 10
PIECE_BYTES = 1 << 12


@dataclass(frozen=True)
class Tenth:
    """tokens: read up to its end. rss_bytes: the process's memory (CUDA: reserved) then; most_bytes: the most of it
    within."""

    tokens: int
    seconds: float
    tokens_per_s: float
    rss_bytes: int
    most_bytes: int
    kv_bytes: int


class StreamBench:
    """tenths: those that are done."""

    def __init__(
        self,
        subject: Subject,
        settings: ReadSettings,
        wish: StreamWish,
        books: tuple[str, ...],
        num_tokens: int,
        every_tokens: int | None,
    ) -> None:
        """books: read one after the other, again and again. every_tokens: a digest, or an answer, is written so often;
        None for never. Loads the model; one of random weights reads with the default model's tokenizer."""
        if num_tokens < TENTHS:
            raise UsageError(f"the tokens must be {TENTHS} or more, not {num_tokens}")
        self._num_tokens, self._every_tokens = num_tokens, every_tokens
        self._model = model = subject.load()
        tokenizer = load_tokenizer(subject.files or resolve(None))
        vocab_size = model.config.get_text_config().vocab_size
        if len(tokenizer) > vocab_size:
            raise UsageError(
                f"{subject.name} knows {vocab_size:,} tokens, fewer than the tokenizer's {len(tokenizer):,}; choose "
                f"another --shape, or --model"
            )
        sampling = Sampling(max_new_tokens=64)
        sizes = choose_sizes(model.config, tokenizer, settings, wish, sampling)
        shape = ModelShape.from_config(model.config, 0, model.dtype)
        profile = profile_for(with_own_profile(settings, subject.files), shape)
        heads = choose_heads(profile, shape.num_kv_heads, shape.windows)
        self._stream: Stream = make_stream(model, tokenizer, heads, sizes, wish, sampling)
        self._books = [Haystack.open(name, tokenizer) for name in books]
        self._head = new_report("bench stream", subject.name, subject.device, subject.dtype) | {
            "settings": {
                **asdict(wish),
                "books": list(books),
                "tokens": num_tokens,
                "every_tokens": every_tokens,
                "sizes": asdict(sizes),
            }
        }
        self.tenths: list[Tenth] = []

    def run(self, observer: Observer = silent) -> Iterator[Tenth]:
        """Reads on, and yields each tenth as it is done."""
        stream, meter = self._stream, MemoryMeter(self._model.device)
        cache = stream.reading.reader.cache
        text = self._bytes()
        stream.start()
        for number in range(1, TENTHS + 1):
            stop, first = self._num_tokens * number // TENTHS, stream.tokens_read
            started, most = time.perf_counter(), 0
            while stream.tokens_read < stop:
                wanted = min(stop - stream.tokens_read, stream.reading.sizes.chunk)
                while stream.waiting_tokens < wanted:
                    stream.push(next(text))
                stream.read(wanted)
                if self._every_tokens and stream.new_tokens >= self._every_tokens:
                    stream.tell("every")
                most = max(most, meter.now_bytes())
                rate = (stream.tokens_read - first) / (time.perf_counter() - started)
                observer(
                    Progress(
                        "stream", stream.tokens_read, self._num_tokens, rate, cache.nbytes, meter.now_bytes()
                    )
                )
            seconds = time.perf_counter() - started
            done = stream.tokens_read - first
            tenth = Tenth(stream.tokens_read, seconds, done / seconds, meter.now_bytes(), most, cache.nbytes)
            self.tenths.append(tenth)
            yield tenth

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON. rss_last_to_second, speed_last_to_second: the last tenth's beside the
        second's, by when the window is full."""
        complete = len(self.tenths) == TENTHS
        ratios = {}
        if complete:
            second, last = self.tenths[1], self.tenths[-1]
            ratios = {
                "rss_last_to_second": last.most_bytes / second.most_bytes,
                "speed_last_to_second": last.tokens_per_s / second.tokens_per_s,
            }
        held = self._stream.held()
        return self._head | {
            "complete": complete,
            **ratios,
            "highest_position": held.highest_position,
            "context_tokens": held.context_tokens,
            "tenths": [asdict(tenth) for tenth in self.tenths],
        }

    def _bytes(self) -> Iterator[bytes]:
        for book in cycle(self._books):
            data = book.text.encode()
            for start in range(0, len(data), PIECE_BYTES):
                yield data[start : start + PIECE_BYTES]
            yield b"\n\n"
