"""Perplexity of the last tokens of a long stretch of natural text: what a way of reading costs, without a question."""

import math
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.evaluate.haystack import BOOKS, Haystack
from lcdoc.evaluate.modes import check_modes
from lcdoc.evaluate.subject import Sheet, Subject
from lcdoc.evaluate.suite import Round, Suite
from lcdoc.tasks.plan import QUESTION_POLICY
from lcdoc.tasks.progress import Observer
from lcdoc.tasks.room import context_window

EXACT = "exact"


@dataclass(frozen=True)
class Stretches:
    """What is read: some stretches of each book, spread evenly over it, in every mode.

    length_tokens: of each stretch. scored_tokens: how many of them, its last, are scored. windows: stretches of each
    book. books: names of shipped ones, or files. Raises UsageError for a value that is not allowed.
    """

    length_tokens: int = 4096
    scored_tokens: int = 512
    windows: int = 4
    modes: tuple[str, ...] = (EXACT, "int8", "int4")
    books: tuple[str, ...] = BOOKS[:1]

    def __post_init__(self) -> None:
        check_modes(self.modes)
        asking = [mode for mode in self.modes if mode.partition("@")[0] == QUESTION_POLICY]
        if asking:
            raise UsageError(
                f"mode {asking[0]} needs a question, and perplexity asks none; choose another policy, such as "
                f"snapkv@{asking[0].partition('@')[2]}"
            )
        for name, value in (("scored tokens", self.scored_tokens), ("windows", self.windows)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        if self.length_tokens <= self.scored_tokens:
            raise UsageError(
                f"the length must be above the {self.scored_tokens:,} tokens that are scored, not "
                f"{self.length_tokens:,}"
            )

    @property
    def num_cells(self) -> int:
        return len(self.books) * self.windows * len(self.modes)


@dataclass(frozen=True)
class Window:
    """One stretch of a book. token_ids: with the token that begins a text, where the model has one."""

    book: str
    start_token: int
    token_ids: list[int]


@dataclass(frozen=True)
class WindowCell:
    """One window read in one mode.

    start_token: where in the book. loss: mean negative log likelihood of the tokens scored, in nats; perplexity: its
    exponential. prefill_s: reading what comes before them. kv_bytes: keys and values held then.
    """

    mode: str
    book: str
    start_token: int
    length_tokens: int
    scored_tokens: int
    loss: float
    perplexity: float
    prefill_s: float
    kv_bytes: int


class PerplexityTest(Suite[WindowCell]):
    """A model and the windows it reads. Making it loads no weights, and tells whether every window fits."""

    def __init__(self, settings: ReadSettings, stretches: Stretches) -> None:
        """Raises DocumentError where a book can't be read, UsageError where it is too short and DoesNotFitError
        where the model's window is."""
        self._stretches, self._subject = stretches, Subject(settings, stretches.modes)
        window = context_window(self._subject.config)
        if not self._subject.reaches(stretches.length_tokens):
            raise DoesNotFitError(
                f"the length is {stretches.length_tokens:,} tokens, but the model's window is {window:,} tokens; "
                f"choose a shorter --length, a way beyond it with --extend, or a model with a longer window with "
                f"--model"
            )
        books = [Haystack.open(name, self._subject.tokenizer) for name in stretches.books]
        self.windows = [window for book in books for window in make_windows(book, stretches)]
        hashes = [book.sha256 for book in books]
        head = self._subject.head("perplexity", **asdict(stretches), books_sha256=hashes)
        super().__init__(WindowCell, head, stretches.num_cells)

    def rounds(self) -> Iterator[Round[WindowCell]]:
        """Window by window, mode beside mode."""
        for window in self.windows:
            for mode in self._stretches.modes:

                def measure(
                    observer: Observer, window: Window = window, mode: str = mode
                ) -> Iterator[WindowCell]:
                    yield self._read(window, mode, observer)

                yield Round(1, measure)

    def score(self) -> dict[str, Any]:
        return score(self.cells)

    def _read(self, window: Window, mode: str, observer: Observer) -> WindowCell:
        num_read = len(window.token_ids) - self._stretches.scored_tokens
        sheet = Sheet(window.token_ids[:num_read], (), len(window.token_ids))
        started = time.perf_counter()
        reader = self._subject.read(mode, sheet, observer)
        kv_bytes = reader.cache.nbytes
        prefill_s = time.perf_counter() - started
        loss = -float(reader.score(window.token_ids[num_read:]).double().mean())
        return WindowCell(
            mode=mode,
            book=window.book,
            start_token=window.start_token,
            length_tokens=len(window.token_ids),
            scored_tokens=self._stretches.scored_tokens,
            loss=loss,
            perplexity=math.exp(loss),
            prefill_s=round(prefill_s, 3),
            kv_bytes=kv_bytes,
        )


def make_windows(book: Haystack, stretches: Stretches) -> Iterator[Window]:
    """The stretches of one book. Raises UsageError where they would score the same tokens twice."""
    length, token_ids = stretches.length_tokens, book.token_ids
    needed = length + (stretches.windows - 1) * stretches.scored_tokens
    if len(token_ids) < needed:
        raise UsageError(
            f"{book.name} has {len(token_ids):,} tokens, fewer than the {needed:,} that {stretches.windows} windows "
            f"of {length:,} need; choose a shorter --length, fewer --windows or a longer text with --haystack"
        )
    begin = begin_ids(book.tokenizer)
    for idx in range(stretches.windows):
        start = (len(token_ids) - length) * idx // max(stretches.windows - 1, 1)
        stop = start + length - len(begin)
        yield Window(book.name, start, [*begin, *token_ids[start:stop]])


def begin_ids(tokenizer: Any) -> list[int]:
    """The token that the model was trained to see before a text, if any."""
    begin = tokenizer.bos_token_id
    return [begin] if begin is not None and tokenizer("a").input_ids[0] == begin else []


def score(cells: list[WindowCell]) -> dict[str, dict[str, float | int | None]]:
    """By mode: windows read, perplexity over all their tokens, and its ratio to that of exact reading over the same
    windows, None where none was read both ways."""
    losses: dict[str, dict[tuple[str, int], float]] = {}
    for cell in cells:
        losses.setdefault(cell.mode, {})[cell.book, cell.start_token] = cell.loss
    exact = losses.get(EXACT, {})
    return {
        mode: {
            "windows": len(by_window),
            "perplexity": math.exp(_mean(list(by_window.values()))),
            "ratio_to_exact": _ratio([loss - exact[key] for key, loss in by_window.items() if key in exact]),
        }
        for mode, by_window in losses.items()
    }


def _ratio(differences: list[float]) -> float | None:
    return math.exp(_mean(differences)) if differences else None


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
