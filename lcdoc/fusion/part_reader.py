"""Reads one part by itself, exactly, and lets questions look at it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lcdoc.engine.attention_mass import AttentionMass
from lcdoc.engine.checkpoint import Checkpoints
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.fusion.joint_tokens import ReadTokens


@dataclass(frozen=True)
class ReadPart:
    """A part that was read, with its cache. start, stop: the part's tokens in it."""

    reader: Reader
    heads: frozenset[tuple[int, int]]
    start: int
    stop: int

    def attention(self, question_ids: Sequence[int]) -> torch.Tensor:
        """The share of a question's attention that each token of the part has, [stop - start]. Raises AllocationFailed
        where memory is refused."""
        mass = AttentionMass(self.heads, self.start, self.stop)
        self.reader.probe(question_ids, mass)
        return mass.mean()

    def head(self) -> ReadTokens:
        """What stands before the part."""
        return ReadTokens.of(self.reader.cache, 0, self.start)

    def tokens(self, first: int, stop: int) -> ReadTokens:
        """Those of the part's tokens first..stop-1."""
        return ReadTokens.of(self.reader.cache, self.start + first, self.start + stop)


@dataclass(frozen=True)
class PartReader:
    """Every part stands after the same head and before the same words, so that what is paid to one compares with what
    is paid to another.

    head_ids: what the model reads before a part; between_ids: after it, before a question. heads: those watched.
    capacity_tokens: for the longest part with all that stands around it.
    """

    model: Any
    heads: frozenset[tuple[int, int]]
    head_ids: Sequence[int]
    between_ids: Sequence[int]
    capacity_tokens: int

    def read(
        self,
        part_ids: Sequence[int],
        chunk_tokens: int,
        on_chunk: Callable[[int, int], None],
        checkpoints: Checkpoints | None = None,
    ) -> ReadPart:
        """on_chunk hears tokens of the part read, and bytes of keys and values. checkpoints: keeps the part, and spares
        reading what it has. Raises AllocationFailed where memory is refused."""
        reader = Reader(
            self.model, HeadSplit.exact(), capacity_tokens=self.capacity_tokens, chunk_tokens=chunk_tokens
        )
        start, stop = len(self.head_ids), len(self.head_ids) + len(part_ids)

        def on_read(done: int) -> None:
            on_chunk(min(max(done - start, 0), len(part_ids)), reader.cache.nbytes)

        reader.read([*self.head_ids, *part_ids, *self.between_ids], on_read, checkpoints=checkpoints)
        return ReadPart(reader, self.heads, start, stop)
