"""Storage of a retrieval group of which most is dropped: what was kept of each head, and a tail of what is new."""

from collections.abc import Iterable, Iterator, Sequence

import torch

from lcdoc.engine.dropped_means import DroppedMeans
from lcdoc.engine.eviction import RECENT_TOKENS, SINK_TOKENS, UNKNOWN_WEIGHT, Eviction
from lcdoc.engine.eviction.allocation import spread
from lcdoc.engine.eviction.evidence import Evidence
from lcdoc.engine.rope import Rotation

Pair = tuple[torch.Tensor, torch.Tensor]
Judgement = tuple[bool, list[torch.Tensor]]

# Tokens brought to the model's dtype at a time while attending.
BLOCK_TOKENS = 1024

# Beside each kept token of each head: its position and its score.
LEDGER_BYTES = 8


class EvictingBuffer:
    """Keeps eviction.keep_tokens per head on average, heads differing, and every token since the last eviction.

    `observe` scores what is held, `keep` drops the rest and frees its memory; both are for the reader to time.
    """

    def __init__(
        self,
        keys: torch.Tensor,
        values: torch.Tensor,
        eviction: Eviction,
        capacity_tokens: int,
        dtype: torch.dtype,
        rotation: Rotation | None = None,
        weights: Sequence[float] | None = None,
    ) -> None:
        """keys, values: examples that give heads, head_dims and device. capacity_tokens: the longest text. dtype: what
        is kept is stored in it. rotation: given, what is kept moves up to positions 0, 1, 2, ... at each eviction.
        weights: of the heads, as Eviction has them."""
        self._weights = weights or [UNKNOWN_WEIGHT] * keys.shape[1]
        self._dropped = DroppedMeans.none(keys, values, 0 if eviction.close_gaps else capacity_tokens)
        self.eviction, self.num_heads, self._rotation = eviction, keys.shape[1], rotation
        self._dtype, self._examples = dtype, (keys[:, :1, :0], values[:, :1, :0])
        self._tail = tuple(
            x.new_empty(1, x.shape[1], eviction.tail_tokens, x.shape[-1]) for x in (keys, values)
        )
        self._tail_scores = torch.zeros(self.num_heads, eviction.tail_tokens, device=keys.device)
        self._kept = [self._nothing() for _ in range(self.num_heads)]
        self._positions = [torch.empty(0, dtype=torch.int32, device=keys.device)] * self.num_heads
        self._scores = [torch.empty(0, device=keys.device)] * self.num_heads
        self.seen_tokens = self.num_tail = 0
        self._judged = True  # whether scores tell anything

    def _nothing(self) -> Pair:
        keys, values = self._examples
        return keys.to(self._dtype), values.to(self._dtype)

    def append(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        stop = self.num_tail + keys.shape[2]
        assert stop <= self.eviction.tail_tokens, f"{stop} tokens in a tail for {self.eviction.tail_tokens}"
        for tail, new in zip(self._tail, (keys, values), strict=True):
            tail[:, :, self.num_tail : stop] = new
        self._tail_scores[:, self.num_tail : stop] = 0.0
        self.num_tail = stop
        self.seen_tokens += keys.shape[2]

    def tail(self) -> Pair:
        """Keys and values since the last eviction, [1, kv_heads, length, head_dim]."""
        return self._tail[0][:, :, : self.num_tail], self._tail[1][:, :, : self.num_tail]

    def kept(self, head: int) -> Iterator[Pair]:
        """What one head kept, in blocks of [1, 1, length, head_dim] in the model's dtype."""
        keys, values = self._kept[head]
        step = keys.shape[2] if keys.dtype == self._examples[0].dtype else BLOCK_TOKENS
        for start in range(0, keys.shape[2], max(1, step)):
            span = slice(start, start + step)
            yield (
                keys[:, :, span].to(self._examples[0].dtype),
                values[:, :, span].to(self._examples[1].dtype),
            )

    def attend_dropped(self, query: torch.Tensor, scale: float, softcap: float | None) -> Pair | None:
        """Attention of all heads' queries to what is left of the tokens they dropped, as DroppedMeans has it."""
        return self._dropped.attend(query, scale, softcap)

    def observe(self, queries: torch.Tensor, lse: torch.Tensor, scale: float, softcap: float | None) -> None:
        """Scores every token held by the queries just attended, which are the last of the tail.

        queries: [1, heads, length, head_dim]; lse: [1, heads, length].
        """
        num_queries, self._judged = queries.shape[2], True
        last = torch.arange(self.seen_tokens - num_queries, self.seen_tokens, device=queries.device)
        grouped = queries.unflatten(1, (self.num_heads, -1)), lse.unflatten(1, (self.num_heads, -1))
        for head in range(self.num_heads):
            keys, values, positions, previous = self._held(head)
            evidence = Evidence(
                queries=grouped[0][:, head : head + 1],
                lse=grouped[1][:, head : head + 1],
                keys=keys,
                values=values,
                query_positions=last,
                key_positions=positions,
                previous=previous[None, None],
                scale=scale,
                softcap=softcap,
            )
            score = self.eviction.policy.score(evidence)[0, 0]
            num_kept = len(self._scores[head])
            self._scores[head] = score[:num_kept].clone()
            self._tail_scores[head, : self.num_tail] = score[num_kept:]

    def _held(self, head: int) -> tuple[torch.Tensor, ...]:
        """Keys, values, positions and scores of one head, kept and tail in order."""
        kept, tail = self._kept[head], self.tail()
        keys, values = (
            torch.cat((old.to(new.dtype), new[:, head : head + 1]), 2)
            for old, new in zip(kept, tail, strict=True)
        )
        scores = torch.cat((self._scores[head], self._tail_scores[head, : self.num_tail]))
        return keys, values, torch.cat((self._positions[head], self._tail_positions())), scores

    def _tail_positions(self) -> torch.Tensor:
        start = self.seen_tokens - self.num_tail
        return torch.arange(start, self.seen_tokens, dtype=torch.int32, device=self._tail_scores.device)

    def candidates(self) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """For each head, the scores of its tokens and which of them must stay."""
        scores, protected = [], []
        for head in range(self.num_heads):
            positions = torch.cat((self._positions[head], self._tail_positions()))
            own = torch.cat((self._scores[head], self._tail_scores[head, : self.num_tail]))
            scores.append(spread(own, positions, self.eviction.policy.reach_tokens, self._weights[head]))
            protected.append((positions < SINK_TOKENS) | (positions >= self.seen_tokens - RECENT_TOKENS))
        return scores, protected

    def keep(self, masks: list[torch.Tensor]) -> None:
        """Drops, head by head, the tokens whose mask is False, and empties the tail; all or, if it fails, nothing."""
        kept, ledger, dropped = [], [], []
        for head, mask in enumerate(masks):
            chosen, others = mask.nonzero().squeeze(1), (~mask).nonzero().squeeze(1)
            keys, values, positions, scores = self._held(head)
            if not self.eviction.close_gaps:
                dropped.append((keys[0, 0, others], values[0, 0, others], positions[others]))
            keys = keys[:, :, chosen]
            if self._rotation is not None:  # without gaps a token's position is its index
                keys = self._rotation.turn(keys, torch.arange(len(chosen), device=chosen.device) - chosen)
            kept.append((keys.to(self._dtype), values[:, :, chosen].to(self._dtype)))
            ledger.append((positions[chosen], scores[chosen]))
        means = self._dropped.add(dropped)
        self._kept, self.num_tail, self._dropped = kept, 0, means
        self._positions, self._scores = (list(column) for column in zip(*ledger, strict=True))

    def fill(self, blocks: Iterable[Pair], num_tokens: int) -> None:
        """Takes over the first num_tokens of a text, in order, before any other: all are kept, none has a score."""
        for head in range(self.num_heads):
            keys, values = (x.new_empty(1, 1, num_tokens, x.shape[-1]) for x in self._nothing())
            self._kept[head] = keys, values
            self._scores[head] = torch.zeros(num_tokens, device=self._tail_scores.device)
        for block in blocks:
            span = slice(self.seen_tokens, self.seen_tokens + block[0].shape[2])
            for head in range(self.num_heads):
                for kept, new in zip(self._kept[head], block, strict=True):
                    kept[:, :, span] = new[:, head : head + 1]
            self.seen_tokens = span.stop
        self._judged = False
        positions = torch.arange(num_tokens, dtype=torch.int32, device=self._tail_scores.device)
        self._positions = [positions] * self.num_heads

    def change(self, eviction: Eviction, dtype: torch.dtype | None = None) -> None:
        """Goes on under another eviction, and in another dtype where one is given; drops nothing yet."""
        self._dtype = dtype or self._dtype
        held = [len(scores) + self.num_tail for scores in self._scores]
        self.keep([torch.ones(count, dtype=torch.bool, device=self._tail_scores.device) for count in held])
        self._tail = tuple(x.new_empty(1, x.shape[1], eviction.tail_tokens, x.shape[-1]) for x in self._tail)
        self._tail_scores = self._tail_scores.new_zeros(self.num_heads, eviction.tail_tokens)
        self.eviction = eviction

    def forget_scores(self) -> None:
        """Before a new round of observing."""
        self._scores = [torch.zeros_like(scores) for scores in self._scores]
        self._tail_scores.zero_()

    @property
    def judgement(self) -> Judgement:
        """Whether what is kept has been scored since it came here, and the scores, which can be set back to it."""
        return self._judged, list(self._scores)

    @judgement.setter
    def judgement(self, judgement: Judgement) -> None:
        self._judged, self._scores = judgement[0], list(judgement[1])

    @property
    def next_position(self) -> int:
        """Where the next token stands for the model."""
        return self.seen_tokens if self._rotation is None else len(self._scores[0]) + self.num_tail

    @property
    def num_entries(self) -> int:
        """Tokens held, summed over the heads."""
        return sum(keys.shape[2] for keys, _ in self._kept) + self.num_heads * self.num_tail

    def mark(self) -> tuple[int, int]:
        return self.seen_tokens, self.num_tail

    def rewind(self, mark: object) -> None:
        """To a mark made since the last eviction."""
        assert isinstance(mark, tuple) and mark[1] <= self.num_tail
        self.seen_tokens, self.num_tail = mark

    @property
    def mark_bytes(self) -> int:
        return 0

    def kept_tokens(self, start: int, stop: int) -> float:
        """Mean over the heads."""
        stop = min(stop, self.seen_tokens)
        span = torch.tensor([start, stop], dtype=torch.int32, device=self._tail_scores.device)
        kept = sum(int(torch.searchsorted(positions, span).diff()) for positions in self._positions)
        tail = stop - max(start, self.seen_tokens - self.num_tail)
        return kept / self.num_heads + max(0, tail)

    @property
    def nbytes(self) -> int:
        kept = sum(keys.nbytes + values.nbytes for keys, values in self._kept)
        ledger = LEDGER_BYTES * sum(len(positions) for positions in self._positions)
        keys, values = self.tail()
        return kept + ledger + keys.nbytes + values.nbytes + self._dropped.nbytes

    @property
    def capacity_bytes(self) -> int:
        """With eviction.keep_tokens in every head; some heads hold more of it and others less."""
        row = sum(x.shape[-1] for x in self._examples) * self._dtype.itemsize + LEDGER_BYTES
        kept = self.num_heads * self.eviction.keep_tokens * row
        return kept + self._dropped.nbytes + sum(x.nbytes for x in (*self._tail, self._tail_scores))
