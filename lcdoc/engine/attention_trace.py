"""What each token of an answer attended to in the text before it, watched while the answer is decoded."""

from collections.abc import Collection, Iterable, Sequence

import torch

Pair = tuple[int, int]


class AttentionTrace:
    """For each query, one at a time, the most of its attention that it pays to any one token of each span of a text.

    A head that copies looks at one token; sums over spans would drown that in what is paid to every token a little.
    """

    def __init__(self, heads: Collection[Pair], bounds: Sequence[int]) -> None:
        """heads: the (layer, KV head) pairs that are watched. bounds: where in the sequence each span begins, and where
        the last one ends; ascending."""
        self._heads = frozenset(heads)
        self._first, self._stop = bounds[0], bounds[-1]
        sizes = torch.tensor(bounds).diff()
        self._span_of_token = torch.repeat_interleave(torch.arange(len(sizes)), sizes)  # [tokens]
        self._num_spans = len(sizes)
        self._sum: torch.Tensor | None = None  # [tokens], over the heads seen so far for the present query
        self._num_heads = 0
        self._rows: dict[int, torch.Tensor] = {}

    def observe(
        self,
        layer_idx: int,
        kv_heads: Sequence[int],
        query: torch.Tensor,
        key_blocks: Iterable[torch.Tensor],
        lse: torch.Tensor,
        scale: float,
        softcap: float | None,
    ) -> None:
        """query: [1, heads, length, head_dim], of which the last is watched; lse: [1, heads, length], log-sum-exp over
        all that each saw. key_blocks: each
        [1, len(kv_heads), tokens, head_dim], together all tokens from the first on, in order."""
        watched = self._watched(layer_idx, kv_heads)
        if not watched:
            return
        group_size = query.shape[1] // len(kv_heads)
        pieces, seen = [], 0
        for keys in key_blocks:
            span = slice(max(self._first - seen, 0), max(self._stop - seen, 0))
            seen += keys.shape[2]
            pieces.append(keys.new_zeros(keys[0, 0, span].shape[0], dtype=torch.float32))
            for idx in watched:
                group = slice(idx * group_size, (idx + 1) * group_size)
                ends = query[0, group, -1], lse[0, group, -1:]
                pieces[-1] += _paid(*ends, keys[0, idx, span], scale, softcap)
        self._add(torch.cat(pieces), len(watched) * group_size)

    def observe_some(
        self,
        layer_idx: int,
        kv_heads: Sequence[int],
        query: torch.Tensor,
        keys: torch.Tensor,
        positions: torch.Tensor,
        lse: torch.Tensor,
        scale: float,
        softcap: float | None,
    ) -> None:
        """As observe, where one token saw some of the others alone. keys: [1, len(kv_heads), tokens, head_dim], those
        that it saw; positions: [len(kv_heads), tokens], where each of them stands."""
        watched = self._watched(layer_idx, kv_heads)
        if not watched:
            return
        group_size = query.shape[1] // len(kv_heads)
        size = self._stop - self._first
        paid = keys.new_zeros(size + 1, dtype=torch.float32)  # the last one for what is outside
        for idx in watched:
            group = slice(idx * group_size, (idx + 1) * group_size)
            at = positions[idx] - self._first
            at = torch.where((at >= 0) & (at < size), at, size)
            ends = query[0, group, -1], lse[0, group, -1:]
            paid.index_add_(0, at, _paid(*ends, keys[0, idx], scale, softcap))
        self._add(paid[:size], len(watched) * group_size)

    def _watched(self, layer_idx: int, kv_heads: Sequence[int]) -> list[int]:
        """Which of the layer's heads are, as they are counted in kv_heads."""
        return [idx for idx, kv_head in enumerate(kv_heads) if (layer_idx, kv_head) in self._heads]

    def _add(self, paid: torch.Tensor, num_heads: int) -> None:
        """paid: [tokens], the sum over so many heads."""
        self._sum = paid if self._sum is None else self._sum + paid.to(self._sum.device)
        self._num_heads += num_heads

    def end_query(self, position: int) -> None:
        """What was observed since the last call belongs to the token at this position of the sequence."""
        if self._sum is not None:
            self._span_of_token = self._span_of_token.to(self._sum.device)  # once
            peaks = self._sum.new_zeros(self._num_spans)
            peaks.scatter_reduce_(0, self._span_of_token, self._sum, "amax")
            self._rows[position] = peaks / self._num_heads
        self._sum, self._num_heads = None, 0

    def rows(self, positions: Iterable[int]) -> list[torch.Tensor]:
        """Of the tokens at these positions, as far as they were watched: [spans] each in float32 on the CPU, of the
        mean over heads."""
        return [self._rows[position].cpu() for position in positions if position in self._rows]


def _paid(
    query: torch.Tensor, lse: torch.Tensor, keys: torch.Tensor, scale: float, softcap: float | None
) -> torch.Tensor:
    """Attention of a KV head's queries [group_size, head_dim] to each key [tokens, head_dim], summed up: [tokens]. lse:
    [group_size, 1]."""
    scores = (query @ keys.T).float() * scale  # [group_size, tokens]
    if softcap is not None:
        scores = torch.tanh(scores / softcap) * softcap
    return (scores - lse.float()).exp_().sum(0)
