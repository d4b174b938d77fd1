"""Spans that may hold another answer: each judge thinks about as much of them as of the best one."""

from collections.abc import Sequence

from lcdoc.fusion.ranking import Judgement
from lcdoc.fusion.spans import Span

# Of what each judge gives the best span, a rival has at least this share. Spans of a novel with one sentence of two
# values have 0.59, 0.51 and 0.84 or more of each other, spans without it no more than 0.24, 0.27 and 0.04.
ATTENTION_SHARE, WORDS_SHARE, LIKELIHOOD_SHARE = 0.5, 0.5, 0.8

# The best span and its rivals are no more than this.
MAX_RIVALS = 4


def rivals(spans: Sequence[Span], judgement: Judgement) -> list[Span]:
    """The best span and its rivals, best first; empty where it has none, or where nobody finds anything in it."""
    scores = judgement.scores
    judged = [(ATTENTION_SHARE, judgement.attention), (WORDS_SHARE, judgement.words)]
    if judgement.likelihood is not None:
        judged.append((LIKELIHOOD_SHARE, judgement.likelihood))
    best, *others = sorted(range(len(spans)), key=scores.__getitem__, reverse=True)
    found = [
        other
        for other in others
        if scores[other] > 0 and all(own[other] >= share * own[best] for share, own in judged)
    ]
    return [spans[idx] for idx in (best, *found)][:MAX_RIVALS] if found else []


def with_neighbours(spans: Sequence[Span], centres: Sequence[Span]) -> list[Span]:
    """The centres, then what stands right before and after each of them, in their order; some may come twice."""
    places = {span.start: idx for idx, span in enumerate(spans)}
    beside = [places[centre.start] + step for centre in centres for step in (-1, 1)]
    return [*centres, *(spans[idx] for idx in beside if 0 <= idx < len(spans))]
