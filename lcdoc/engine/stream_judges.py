"""Who judges which tokens that leave the window of a stream stay, one class for each."""

from collections.abc import Collection, Sequence
from typing import Protocol

import torch

from lcdoc.engine.attention_mass import AttentionMass, Pair
from lcdoc.engine.reader import Reader


class Judge(Protocol):
    """needs_surprise: whether it wants to know how little each token was foretold when it was read."""

    needs_surprise: bool

    def scores(self, reader: Reader, start: int, stop: int, surprise: torch.Tensor) -> torch.Tensor:
        """For the tokens start..stop-1 of those held, [stop - start], none below 0, the higher the better.

        surprise: [stop - start], negative log probabilities in nats, 0 where they are not known. The reader holds
        what it held before."""
        ...


class Asked:
    """What the question attends to, beyond what a question about nothing does, in the heads that retrieve."""

    needs_surprise = False

    def __init__(self, heads: Collection[Pair], question_ids: Sequence[int], null_ids: Sequence[int]) -> None:
        self._heads, self._probes = heads, (question_ids, null_ids)

    def scores(self, reader: Reader, start: int, stop: int, surprise: torch.Tensor) -> torch.Tensor:
        masses = []
        for token_ids in self._probes:
            mass = AttentionMass(self._heads, start, stop)
            reader.probe(token_ids, mass)
            masses.append(mass.mean())
        return (masses[0] - masses[1]).clamp(min=0)


class Surprising:
    """What the model did not foresee when it read it: that can't be told from the rest."""

    needs_surprise = True

    def scores(self, reader: Reader, start: int, stop: int, surprise: torch.Tensor) -> torch.Tensor:
        return surprise
