"""How far back a model's states reach: how much they change with a far prefix, and whether a needle there is foretold.

In the manner of "How much do contextualized representations encode long-range context?" (arXiv 2410.12292). A stretch
of natural text ends in a measured segment. All that lies more than d tokens before the segment is replaced by other
natural text of the same length; the d tokens between, and the segment, stay. With u(i) the final hidden state of the
segment's token i after the text as it is, v(i) after the replaced one, and w(j) those of the last tokens of the stretch
that the other text is from,

    similarity = mean over i of cos(u(i), v(i))
    anisotropy = mean over i and j of cos(u(i), w(j))
    change     = 1 - (similarity - anisotropy) / (1 - anisotropy)

so that 0 is no trace of the far prefix, and 1 states as unlike as those of two texts that have nothing in common. The
calibration is this module's own; only the idea is the paper's.

Beside it stands the negative log likelihood of a needle's value, with the needle planted d tokens before the end of a
document of the same length: the mean over the value's tokens, in nats, given the document, the question and the words
of the needle before the value.
"""

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import torch

from lcdoc.config import ReadSettings
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.evaluate.haystack import BOOKS, Haystack
from lcdoc.evaluate.modes import check_modes
from lcdoc.evaluate.perplexity import begin_ids
from lcdoc.evaluate.states import anisotropy, change, final_states, similarity
from lcdoc.evaluate.subject import Sheet, Subject
from lcdoc.evaluate.suite import Round, Suite
from lcdoc.evaluate.templates import TEMPLATES, Needle, draw_needle
from lcdoc.tasks.progress import Observer
from lcdoc.tasks.room import context_window

SEGMENT_TOKENS = 128
# Fewer replaced tokens than these are no far prefix.
MIN_CHANGED_TOKENS = 128


@dataclass(frozen=True)
class Reaches:
    """Every length is read with every distance that it has room for, with every seed and book, in every mode.

    lengths: tokens of each text. distances: tokens that stay between what is replaced and the segment. seeds: how
    many, from 0. books: names of shipped ones, or files. Raises UsageError for a value that is not allowed.
    """

    lengths: tuple[int, ...] = (4096,)
    distances: tuple[int, ...] = (0, 256, 1024, 2048)
    seeds: int = 2
    modes: tuple[str, ...] = ("exact", "stream")
    books: tuple[str, ...] = BOOKS[:1]

    def __post_init__(self) -> None:
        check_modes(self.modes)
        if self.seeds < 1:
            raise UsageError(f"seeds must be 1 or more, not {self.seeds}")
        if min(self.distances, default=-1) < 0:
            raise UsageError(f"distances must be 0 or more, not {min(self.distances, default='none')}")
        for length in self.lengths:
            if not self.distances_in(length):
                least = min(self.distances) + SEGMENT_TOKENS + MIN_CHANGED_TOKENS
                raise UsageError(
                    f"a length of {length:,} tokens has no room for a distance of {min(self.distances):,}; it takes "
                    f"{least:,} or more"
                )

    def distances_in(self, length_tokens: int) -> tuple[int, ...]:
        """Those that a text of this length has room for."""
        most = length_tokens - SEGMENT_TOKENS - MIN_CHANGED_TOKENS
        return tuple(distance for distance in self.distances if distance <= most)

    @property
    def num_cells(self) -> int:
        distances = sum(len(self.distances_in(length)) for length in self.lengths)
        return distances * self.seeds * len(self.modes) * len(self.books)


@dataclass(frozen=True)
class Recall:
    """A document with a needle at a distance. distance_tokens: from the needle's start to the document's end.

    lead_ids: the needle's words before its value, to be read after the question. value_ids: what is scored.
    """

    distance_tokens: int
    sheet: Sheet
    lead_ids: list[int]
    value_ids: list[int]


@dataclass(frozen=True)
class Pair:
    """Two stretches of a book that don't overlap, of the same length, and a document for each distance.

    text_ids, other_ids: with the begin_tokens, none or one, that the model was trained to see before a text.
    """

    book: str
    length_tokens: int
    seed: int
    text_ids: list[int]
    other_ids: list[int]
    begin_tokens: int
    needle: Needle
    recalls: dict[int, Recall]

    def border(self, distance: int) -> int:
        """Where what stays begins."""
        return len(self.text_ids) - SEGMENT_TOKENS - distance

    def mixed_ids(self, distance: int) -> list[int]:
        """The text with all that is more than this distance before its segment from the other one."""
        border = self.border(distance)
        return self.other_ids[:border] + self.text_ids[border:]


@dataclass(frozen=True)
class ContextCell:
    """One pair read in one mode at one distance; similarity, anisotropy, change, needle_nll: see above.

    changed_tokens: how many were replaced. needle_distance_tokens: as the borders of sentences allowed. value_tokens:
    how many needle_nll is the mean of. kv_bytes: keys and values held before the segment was read.
    """

    mode: str
    book: str
    length_tokens: int
    distance_tokens: int
    seed: int
    changed_tokens: int
    similarity: float
    anisotropy: float
    change: float
    needle_nll: float
    needle_distance_tokens: int
    value: str
    value_tokens: int
    kv_bytes: int


class ContextTest(Suite[ContextCell]):
    """A model and the pairs it reads. Making it loads no weights, and tells whether every text fits."""

    def __init__(self, settings: ReadSettings, reaches: Reaches) -> None:
        """Raises DocumentError where a book can't be read, UsageError where it is too short and DoesNotFitError
        where the model's window is."""
        self._reaches, self._subject = reaches, Subject(settings, reaches.modes)
        window = context_window(self._subject.config)
        if max(reaches.lengths) > window:
            raise DoesNotFitError(
                f"the length is {max(reaches.lengths):,} tokens, but the model's window is {window:,} tokens; "
                f"choose shorter --lengths, or a model with a longer window with --model"
            )
        books = [Haystack.open(name, self._subject.tokenizer) for name in reaches.books]
        self.pairs = [
            self._pair(book, length, seed)
            for book in books
            for length in reaches.lengths
            for seed in range(reaches.seeds)
        ]
        head = self._subject.head(
            "context",
            **asdict(reaches) | {"books": [book.name for book in books]},
            books_sha256=[book.sha256 for book in books],
            segment_tokens=SEGMENT_TOKENS,
        )
        super().__init__(ContextCell, head, reaches.num_cells)

    def rounds(self) -> Iterator[Round[ContextCell]]:
        """Pair by pair, mode beside mode, with all distances of a pair."""
        for pair in self.pairs:
            for mode in self._reaches.modes:

                def measure(observer: Observer, pair: Pair = pair, mode: str = mode) -> Iterator[ContextCell]:
                    yield from self._read(pair, mode, observer)

                yield Round(len(pair.recalls), measure)

    def score(self) -> dict[str, Any]:
        return score(self.cells)

    def _read(self, pair: Pair, mode: str, observer: Observer) -> Iterator[ContextCell]:
        states, kv_bytes = self._states(mode, pair.text_ids, observer)
        unrelated, _ = self._states(mode, pair.other_ids, observer)
        common = anisotropy(states, unrelated)
        for distance, recall in pair.recalls.items():
            alike = similarity(states, self._states(mode, pair.mixed_ids(distance), observer)[0])
            yield ContextCell(
                mode=mode,
                book=pair.book,
                length_tokens=pair.length_tokens,
                distance_tokens=distance,
                seed=pair.seed,
                changed_tokens=pair.border(distance) - pair.begin_tokens,
                similarity=alike,
                anisotropy=common,
                change=change(alike, common),
                needle_nll=self._needle_nll(mode, recall, observer),
                needle_distance_tokens=recall.distance_tokens,
                value=pair.needle.value,
                value_tokens=len(recall.value_ids),
                kv_bytes=kv_bytes,
            )

    def _states(self, mode: str, token_ids: list[int], observer: Observer) -> tuple[torch.Tensor, int]:
        """Final states of the segment, [SEGMENT_TOKENS, hidden], and the bytes of keys and values before it. To a
        policy that listens to the question the segment is the question."""
        document_ids, segment_ids = token_ids[:-SEGMENT_TOKENS], token_ids[-SEGMENT_TOKENS:]
        reader = self._subject.read(mode, Sheet(document_ids, (segment_ids,), len(token_ids)), observer)
        kv_bytes = reader.cache.nbytes
        with final_states(self._subject.model) as states:
            reader.score(segment_ids)
        return torch.cat(states), kv_bytes

    def _needle_nll(self, mode: str, recall: Recall, observer: Observer) -> float:
        reader = self._subject.read(mode, recall.sheet, observer)
        reader.prefill([*recall.sheet.questions[0], *recall.lead_ids])
        return -float(reader.score(recall.value_ids).double().mean())

    def _pair(self, book: Haystack, length: int, seed: int) -> Pair:
        """The needle's wording takes turns with the seed."""
        begin = begin_ids(book.tokenizer)
        size = length - len(begin)
        starts = _starts(book, size, random.Random(f"{length} {seed}"))
        text_ids, other_ids = ([*begin, *book.token_ids[start : start + size]] for start in starts)
        template = list(TEMPLATES)[seed % len(TEMPLATES)]
        needle = draw_needle(template, f"{length} {seed}")
        distances = self._reaches.distances_in(length)
        recalls = {distance: self._recall(book, needle, length, seed, distance) for distance in distances}
        return Pair(book.name, length, seed, text_ids, other_ids, len(begin), needle, recalls)

    def _recall(self, book: Haystack, needle: Needle, length: int, seed: int, distance: int) -> Recall:
        placed = book.place(needle.sentence, length_tokens=length, depth=1 - distance / length, seed=seed)
        prompt = self._subject.prompt
        lead_ids, value_ids = split_at_value(book.tokenizer, needle)
        sheet = self._subject.sheet(
            prompt.head_ids() + placed.tokens.token_ids,
            [prompt.question_ids(needle.question, first=True)],
            len(lead_ids) + len(value_ids),
        )
        return Recall(len(placed.tokens.token_ids) - placed.needle_token, sheet, lead_ids, value_ids)


def split_at_value(tokenizer: Any, needle: Needle) -> tuple[list[int], list[int]]:
    """The needle's tokens before its value, and those that the value has a part in."""
    encoded = tokenizer(
        needle.sentence, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True
    )
    start = needle.sentence.index(needle.value)
    stop = start + len(needle.value)
    pairs = list(zip(encoded.input_ids, encoded.offset_mapping, strict=True))
    return (
        [token_id for token_id, (_, end) in pairs if end <= start],
        [token_id for token_id, (first, end) in pairs if end > start and first < stop],
    )


def _starts(book: Haystack, size: int, source: random.Random) -> tuple[int, int]:
    """Where two stretches of this many tokens start in the book, in either order."""
    spare = len(book.token_ids) - 2 * size
    if spare < 0:
        raise UsageError(
            f"{book.name} has {len(book.token_ids):,} tokens, fewer than two stretches of {size:,}; "
            f"choose shorter --lengths or a longer text with --haystack"
        )
    first, second = sorted(source.randint(0, spare) for _ in range(2))
    starts = first, second + size
    return starts if source.random() < 0.5 else starts[::-1]


def score(cells: list[ContextCell]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """By mode, length and distance: how many cells, and the means of change and needle_nll over them."""
    groups: dict[tuple[str, int, int], list[ContextCell]] = {}
    for cell in cells:
        groups.setdefault((cell.mode, cell.length_tokens, cell.distance_tokens), []).append(cell)
    totals: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for (mode, length, distance), group in groups.items():
        totals.setdefault(mode, {}).setdefault(str(length), {})[str(distance)] = {
            "cells": len(group),
            "change": sum(cell.change for cell in group) / len(group),
            "needle_nll": sum(cell.needle_nll for cell in group) / len(group),
        }
    return totals
