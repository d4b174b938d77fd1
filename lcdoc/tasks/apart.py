"""What single spans answer to a question by themselves, and whether they contradict each other (arXiv 2410.09342)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch

from lcdoc.citations.disagreement import Finding, disagree
from lcdoc.config import Sampling
from lcdoc.fusion.spans import Span
from lcdoc.tasks.ask import Reading

# Long enough for a figure or a name with the words around it.
APART_TOKENS = 24

# An answer less likely than this, or than this share of the likeliest one, is no evidence. What a small model found had
# 0.70 to 0.93, what it made up about a span that does not say it 0.47 to 0.65.
MIN_PROBABILITY, LIKELY_SHARE = 0.66, 0.75


@dataclass(frozen=True)
class Extract:
    """What a span answers alone. probability: the mean over the answer's tokens, 0 to 1."""

    span: Span
    answer: str
    probability: float


@dataclass
class Likeliest:
    """Picks the likeliest token each time, and remembers how likely it was."""

    probabilities: list[float] = field(default_factory=list)

    def __call__(self, logits: torch.Tensor) -> int:
        """logits: [vocab]."""
        probability, token_id = logits.float().softmax(-1).max(-1)
        self.probabilities.append(float(probability))
        return int(token_id)

    @property
    def mean(self) -> float:
        return sum(self.probabilities) / max(len(self.probabilities), 1)


def ask_apart(question: str, spans: Sequence[Span], open_reading: Callable[[Span], Reading]) -> list[Extract]:
    """open_reading: reads a span as a document of its own, exactly. An interrupt ends it all."""
    extracts = []
    for span in spans:
        pick = Likeliest()
        answer = open_reading(span).ask(
            question, Sampling(max_new_tokens=APART_TOKENS), lambda text: None, pick=pick, until=_is_enough
        )
        if answer.finish_reason == "interrupted":
            raise KeyboardInterrupt
        extracts.append(Extract(span, answer.answer, pick.mean))
    return extracts


def find_conflict(question: str, extracts: Sequence[Extract]) -> tuple[Extract, ...]:
    """Those that contradict the first one, and it before them; empty where none does that is about as likely."""
    best, *others = extracts
    least = max(MIN_PROBABILITY, LIKELY_SHARE * max(extract.probability for extract in extracts))
    against = [
        other
        for other in others
        if min(best.probability, other.probability) >= least
        and disagree(question, Finding(best.answer, best.span.text), Finding(other.answer, other.span.text))
    ]
    return (best, *against) if against else ()


def _is_enough(text: str) -> bool:
    """One line."""
    return "\n" in text.strip()
