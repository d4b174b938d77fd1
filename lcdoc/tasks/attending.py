"""Where an answer comes from, told by what the model's heads that retrieve looked at while they wrote it."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch

from lcdoc.citations.instructions import orders
from lcdoc.citations.source_text import Place
from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.fusion.spans import Span, cut_spans
from lcdoc.tasks.answer import Passage
from lcdoc.tokens import TokenizedDocument

# What is cited: a few sentences, enough to hold the figures and names of one.
SPAN_TOKENS = 80
# Of an answer's tokens, so many look at a span most before it is said that they do.
MIN_LOOKING = 0.05
SHOWN_CHARS = 160


@dataclass(frozen=True)
class Watched:
    """What is watched of a reading. heads: (layer, KV head) pairs. first_token: where the documents begin in what the
    model reads. threshold: the confidence from which a page is cited; None where it was not measured for these heads.
    """

    tokens: TokenizedDocument
    first_token: int
    heads: frozenset[tuple[int, int]]
    threshold: float | None

    @cached_property
    def spans(self) -> list[Span]:
        return cut_spans(self.tokens, SPAN_TOKENS)

    @cached_property
    def page_of_span(self) -> torch.Tensor:
        """[spans], pages counted from 0."""
        starts = {span.page.start: None for span in self.spans}
        numbers = {start: number for number, start in enumerate(starts)}
        return torch.tensor([numbers[span.page.start] for span in self.spans])

    def trace(self) -> AttentionTrace:
        """For one answer."""
        bounds = [self.first_token + span.start for span in self.spans]
        return AttentionTrace(self.heads, [*bounds, self.first_token + self.spans[-1].stop])


class Attended:
    """What the tokens of one answer looked at."""

    def __init__(
        self, watched: Watched, trace: AttentionTrace, first_position: int, ends: Sequence[int]
    ) -> None:
        """first_position: of the answer's first token in what the model read. ends: for each of its tokens, how much of
        the answer's text there was with it, in characters."""
        self._watched, self._trace = watched, trace
        self._first, self._ends = first_position, ends

    def place(self, start: int, stop: int) -> tuple[Place, float] | None:
        """The passage that the answer's characters start..stop-1 come from, and the confidence in its page; None below
        the threshold, and where nothing was watched."""
        found = self.best(start, stop)
        threshold = self._watched.threshold
        return None if found is None or threshold is None or found[1] < threshold else found

    def best(self, start: int, stop: int) -> tuple[Place, float] | None:
        """As place, however low the confidence is."""
        written = [index for index in range(len(self._ends)) if self._overlaps(index, start, stop)]
        peaks = self._peaks(written)
        if peaks is None:
            return None
        pages = self._watched.page_of_span
        page, confidence = choose_page(peaks, pages)
        paid = peaks.sum(0).masked_fill(pages != page, -1.0)
        span = self._watched.spans[int(paid.argmax())]
        document = span.page.document
        return Place(document, span.page.page, span.page.page, span.text.strip()), confidence

    def instructions(self) -> tuple[Passage, ...]:
        """Spans that read like an instruction to the model and that some of the answer's tokens looked at most."""
        peaks = self._peaks(range(len(self._ends)))
        if peaks is None:
            return ()
        looked = torch.bincount(peaks.argmax(1), minlength=peaks.shape[1]) / len(peaks)
        found = []
        for index in torch.nonzero(looked >= MIN_LOOKING).flatten().tolist():
            span = self._watched.spans[index]
            if words := _order_in(span):
                document, page = span.page.document, span.page.page
                share = float(looked[index])
                found.append(Passage(document.source, page.number, page.label, document.unit, words, share))
        return tuple(found)

    def _overlaps(self, index: int, start: int, stop: int) -> bool:
        return self._ends[index] > start and (self._ends[index - 1] if index else 0) < stop

    def _peaks(self, written: Sequence[int]) -> torch.Tensor | None:
        """[tokens, spans] of these tokens of the answer: what the token before each, which chose it, looked at."""
        rows = self._trace.rows(self._first + index - 1 for index in written)
        return torch.stack(rows) if rows else None


def choose_page(peaks: torch.Tensor, page_of_span: torch.Tensor) -> tuple[int, float]:
    """The page that a sentence comes from, and how far it is ahead of the next, 0 to 1.

    peaks: [tokens, spans], the most attention that each token of the sentence pays to one token of a span.
    page_of_span: [spans]. A page has of each token its highest peak."""
    num_pages = int(page_of_span.max()) + 1
    by_page = peaks.new_zeros(len(peaks), num_pages)
    by_page.scatter_reduce_(1, page_of_span.expand(len(peaks), -1), peaks, "amax")
    paid = by_page.sum(0)
    best = int(paid.argmax())
    if num_pages == 1:
        return best, 1.0
    first, second = paid.topk(2).values.tolist()
    return best, 1 - second / first if first > 0 else 0.0


def _order_in(span: Span) -> str:
    """The first words of a span's page that read like an instruction and touch the span, with some around them."""
    text = span.page.page.text
    for start, stop in orders(text):
        if start < span.char_stop and stop > span.char_start:
            first = max(0, start - (SHOWN_CHARS - (stop - start)) // 2)
            return " ".join(text[first : first + SHOWN_CHARS].split())
    return ""
