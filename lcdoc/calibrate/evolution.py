"""An evolutionary search (LongRoPE, arXiv 2402.13753, algorithm 1), a candidate at a time."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from lcdoc.calibrate.rescale import Rescale, cross, most_factor, mutate

# Those of all scored so far from which the next comes: few, as each score takes seconds to minutes.
PARENTS = 6
CROSS_SHARE = 0.3

Scored = tuple[Rescale, float]


@dataclass(frozen=True)
class Evolution:
    """seeds: tried first. seed: of the random draws. What is tried next follows from what was scored before alone, so
    that a search can be gone on with anywhere."""

    seeds: tuple[Rescale, ...]
    seed: int = 0

    def propose(self, scored: Sequence[Scored]) -> Rescale:
        """One that was not scored yet. scored: each candidate with its score, less is better, in order."""
        number = len(scored)
        if number < len(self.seeds):
            return self.seeds[number]
        source, most = Random(f"{self.seed} {number}"), most_factor(self.seeds)
        parents = [candidate for candidate, _ in sorted(scored, key=lambda pair: pair[1])[:PARENTS]]
        if len(parents) > 1 and source.random() < CROSS_SHARE:
            fast, slow = source.sample(parents, 2)
            candidate = cross(fast, slow, source, most)
        else:
            candidate = mutate(source.choice(parents), source, most)
        known = {before for before, _ in scored}
        while candidate in known:
            candidate = mutate(candidate, source, most)
        return candidate


def best_so_far(scores: Sequence[float]) -> list[float]:
    """The least of the scores up to each."""
    best: list[float] = []
    for score in scores:
        best.append(min(score, best[-1]) if best else score)
    return best
