"""A text with needles in it, and how well a way of turning positions reads it: what rescale factors are judged by.

An exam may be shorter than the length it is for. Its tokens then stand in blocks with gaps between, so that their
positions and the distances between them are those of the long text, at the cost of the short one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from lcdoc.engine.extension import Extension
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.errors import UsageError
from lcdoc.evaluate.context import split_at_value
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.templates import KEYS, TEMPLATES, Needle, draw_needle
from lcdoc.tokens import Prompt

# The last tokens of the text, whose perplexity is measured. No gap is among them.
TAIL_TOKENS = 128
# Tokens between two gaps, about.
BLOCK_TOKENS = 64
# As many as there are keys, whatever is asked for: those that are not make it harder to find the right one.
NUM_PLANTED = len(KEYS)


@dataclass(frozen=True)
class Score:
    """needle_nll: mean negative log likelihood of the tokens of a needle's value, over all needles. tail_nll: that of
    the text's last tokens. Both in nats."""

    needle_nll: float
    tail_nll: float

    @property
    def tail_perplexity(self) -> float:
        return math.exp(self.tail_nll)

    def total(self, tail_weight: float) -> float:
        """Less is better."""
        return self.needle_nll + tail_weight * self.tail_nll


@dataclass(frozen=True)
class Spread:
    """Where tokens come to stand: all gap_tokens farther on after each border. borders: tokens, in order."""

    borders: tuple[int, ...]
    extra_tokens: int

    def __call__(self, numbers: torch.Tensor) -> torch.Tensor:
        """numbers: [length], of tokens in the text. Returns their positions."""
        borders = torch.tensor(self.borders, device=numbers.device)
        passed = torch.bucketize(numbers, borders, right=True)
        return numbers + passed * self.extra_tokens // len(self.borders)


@dataclass(frozen=True)
class Recall:
    """A question with the words of its answer before the value, and the value."""

    lead_ids: list[int]
    value_ids: list[int]


@dataclass(frozen=True)
class Exam:
    """needle_spans: each needle's tokens in the document. length_tokens: the length it stands for, questions included.
    is_whole: whether that is read, with no gaps."""

    book: str
    document_ids: list[int]
    recalls: tuple[Recall, ...]
    needle_spans: tuple[range, ...]
    length_tokens: int
    is_whole: bool

    @classmethod
    def draw(
        cls, haystack: Haystack, *, text_tokens: int, length_tokens: int, num_needles: int, seed: int
    ) -> "Exam":
        """text_tokens: the most that are read, the longest question included. num_needles: how many of the NUM_PLANTED
        are asked for, spread evenly. Raises UsageError where the book or text_tokens is too short."""
        tokenizer = haystack.tokenizer
        prompt = Prompt.from_tokenizer(tokenizer)
        needles: list[Needle] = []
        for number in range(NUM_PLANTED):
            template = list(TEMPLATES)[number % len(TEMPLATES)]
            needles.append(draw_needle(template, f"{seed} {number}", needles))
        asked = [number * NUM_PLANTED // num_needles for number in range(num_needles)]
        recalls = []
        for number in asked:
            lead_ids, value_ids = split_at_value(tokenizer, needles[number])
            question_ids = prompt.question_ids(needles[number].question, first=True)
            recalls.append(Recall([*question_ids, *lead_ids], value_ids))
        head_ids = prompt.head_ids()
        sizes = [len(prompt.plain_ids(f" {needle.sentence}")) for needle in needles]
        room_tokens = text_tokens - len(head_ids) - _longest(recalls)
        natural_tokens = room_tokens - sum(sizes)
        if natural_tokens < 2 * TAIL_TOKENS:
            least = text_tokens - natural_tokens + 2 * TAIL_TOKENS
            raise UsageError(f"{text_tokens:,} tokens are too few for the text; it takes {least:,} or more")
        # None stands in the tail, also where the last sentence ends early.
        deepest = 1 - 1.5 * TAIL_TOKENS / natural_tokens
        sentences = [
            (needle.sentence, deepest * (number + 0.5) / NUM_PLANTED) for number, needle in enumerate(needles)
        ]
        placed = haystack.place_all(sentences, length_tokens=room_tokens, seed=seed)
        spans = []
        for place, size in zip(placed, sizes, strict=True):
            start = len(head_ids) + place.needle_token
            spans.append(range(start, start + size))
        document_ids = head_ids + placed[0].tokens.token_ids
        is_whole = text_tokens >= length_tokens
        return cls(haystack.name, document_ids, tuple(recalls), tuple(spans), length_tokens, is_whole)

    @property
    def capacity_tokens(self) -> int:
        """The most that are held at once."""
        return len(self.document_ids) + _longest(self.recalls)

    @property
    def spread(self) -> Spread:
        """The gaps stand between blocks, and never in a needle or in the tail."""
        stop = len(self.document_ids) - TAIL_TOKENS
        borders = set()
        for border in range(BLOCK_TOKENS, stop + 1, BLOCK_TOKENS):
            torn = next((span for span in self.needle_spans if border in span), None)
            borders.add(border if torn is None else torn.start)
        return Spread(tuple(sorted(borders)), self.length_tokens - self.capacity_tokens)

    def take(
        self,
        model: Any,
        extension: Extension | None,
        chunk_tokens: int,
        on_chunk: Callable[[int], None] | None = None,
    ) -> Score:
        """Reads the text once, in a model loaded with lcdoc's attention, and asks everything from there."""
        reader = Reader(
            model,
            HeadSplit.exact(),
            capacity_tokens=self.capacity_tokens,
            chunk_tokens=chunk_tokens,
            extension=extension,
            place=None if self.is_whole else self.spread,
        )
        reader.prefill(self.document_ids[:-TAIL_TOKENS], on_chunk)
        tail = reader.score(self.document_ids[-TAIL_TOKENS:])
        mark = reader.mark()
        values = []
        for recall in self.recalls:
            reader.rewind(mark)
            scores = reader.score([*recall.lead_ids, *recall.value_ids])
            values.append(-float(scores[-len(recall.value_ids) :].double().mean()))
        return Score(sum(values) / len(values), -float(tail.double().mean()))


def _longest(recalls: Any) -> int:
    return max(len(recall.lead_ids) + len(recall.value_ids) for recall in recalls)
