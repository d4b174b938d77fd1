"""Spans judged by how likely they make the question: one that answers it leads to it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

from lcdoc.engine.checkpoint import Checkpoints
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader

# Judged so, of the best by attention and words: a quarter of all, which costs little beside the parts, within these
# bounds, and a thirtieth where that is more. Of ten questions over 6,000 tokens twelve candidates rank the right page
# as high as 24 do.
LEAST_CANDIDATES, MOST_CANDIDATES, MOST_SHARE = 12, 24, 1 / 30


def num_candidates(num_spans: int) -> int:
    """How many of a text's spans are judged so."""
    most = max(MOST_CANDIDATES, int(num_spans * MOST_SHARE))
    return min(num_spans, most, max(LEAST_CANDIDATES, num_spans // 4))


@dataclass(frozen=True)
class LikelihoodReader:
    """Reads spans, each by itself, up to a question. head_ids: what the model reads before a span; between_ids: after
    it, before the question."""

    model: Any
    head_ids: Sequence[int]
    between_ids: Sequence[int]

    def scores(
        self,
        spans: Sequence[Sequence[int]],
        question_ids: Sequence[int],
        chunk_tokens: int,
        on_span: Callable[[int, int], None],
        left: Sequence[Checkpoints] | None = None,
    ) -> list[float]:
        """For each span by how much it raises the question's log probability, in the mean over its tokens, beyond what
        it has after no span at all.

        spans: the token ids of each. on_span hears how many are done, and bytes of keys and values. left: what the head
        and each span have left elsewhere, so that they aren't read. Raises AllocationFailed where memory is refused."""

        def mean(span: Sequence[int], left: Checkpoints | None = None) -> tuple[float, int]:
            before = [*self.head_ids, *span]
            room = len(before) + len(self.between_ids) + len(question_ids)
            reader = Reader(self.model, HeadSplit.exact(), capacity_tokens=room, chunk_tokens=chunk_tokens)
            if left is not None:
                reader.read(before, checkpoints=left)
                before = []
            reader.prefill([*before, *self.between_ids])
            return float(reader.score(question_ids).mean()), reader.cache.nbytes

        alone, _ = mean(())
        found = []
        for span, own in zip(spans, left or repeat(None, len(spans)), strict=True):
            score, kv_bytes = mean(span, own)
            found.append(score - alone)
            on_span(len(found), kv_bytes)
        return found
