"""How much of a document a ladder of rungs may drop, before any rung is chosen."""

from dataclasses import dataclass

from lcdoc.engine.eviction import RECENT_TOKENS, SINK_TOKENS, Eviction
from lcdoc.engine.eviction.policy import CHUNK, QUESTION, Policy

# Shares of the document's keys and values that are tried, where none was asked for.
SHARES = (0.75, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.12, 0.1, 0.08, 0.06, 0.05)


@dataclass(frozen=True)
class Demand:
    """policy: who would judge. document_tokens: with the prompt before them. after_tokens: what is read and written
    after the document at most. question_tokens: of the longest question. keep_tokens: None leaves it to the ladder.
    asked: whether the user wants eviction, or it is only the last resort. close_gaps, head_weights: as
    Eviction has them."""

    policy: Policy
    document_tokens: int
    after_tokens: int
    question_tokens: int
    keep_tokens: int | None = None
    asked: bool = False
    close_gaps: bool = False
    head_weights: tuple[tuple[float, ...], ...] | None = None

    def evictions(self, chunk_tokens: int) -> list[Eviction]:
        """From the one that drops least on; none drops nothing."""
        wanted = [self.keep_tokens] if self.keep_tokens else [int(s * self.document_tokens) for s in SHARES]
        least = SINK_TOKENS + RECENT_TOKENS
        kept = dict.fromkeys(max(least, keep) for keep in wanted)
        tail = self.tail_tokens(chunk_tokens)
        return [
            Eviction(self.policy, keep, tail, self.close_gaps, self.head_weights)
            for keep in kept
            if keep < self.document_tokens
        ]

    def tail_tokens(self, chunk_tokens: int) -> int:
        """Room for a chunk and what is put to it, and later for questions and answers."""
        probe = 0 if self.policy.listens == CHUNK else self.question_tokens
        if self.policy.listens not in (CHUNK, QUESTION):
            probe += chunk_tokens
        return max(chunk_tokens + probe, self.after_tokens)

    def share(self, eviction: Eviction) -> float:
        """Of the document's keys and values, what stays."""
        return eviction.keep_tokens / self.document_tokens

    def loss(self, eviction: Eviction | None) -> str:
        """What is given up, in words."""
        if eviction is None:
            return ""
        return (
            f"{self.share(eviction):.0%} of the document's keys and values kept, chosen by {self.policy.name}"
        )
