"""How much queries attend to the tokens of a stretch, watched while the model reads them."""

from collections.abc import Collection, Sequence

import torch

# Queries whose attention is made explicit at a time, of one KV head.
QUERY_BLOCK = 32

Pair = tuple[int, int]


class AttentionMass:
    """Sums up the attention that queries pay to the tokens start..stop-1, which come before all of them."""

    def __init__(self, heads: Collection[Pair], start: int, stop: int) -> None:
        """heads: the (layer, KV head) pairs that are watched."""
        self._heads, self._span = frozenset(heads), slice(start, stop)
        self._sum = torch.zeros(stop - start)
        self._num_rows = 0

    def observe(
        self,
        layer_idx: int,
        kv_heads: Sequence[int],
        queries: torch.Tensor,
        keys: torch.Tensor,
        lse: torch.Tensor,
        scale: float,
        softcap: float | None,
    ) -> None:
        """queries: [1, heads, length, head_dim]; lse: [1, heads, length], log-sum-exp over all that they saw.
        keys: [1, len(kv_heads), tokens, head_dim], of all tokens from the first on."""
        group_size = queries.shape[1] // len(kv_heads)
        for idx, kv_head in enumerate(kv_heads):
            if (layer_idx, kv_head) not in self._heads:
                continue
            group = slice(idx * group_size, (idx + 1) * group_size)
            held = keys[0, idx, self._span].float()  # [stop - start, head_dim]
            for start in range(0, queries.shape[2], QUERY_BLOCK):
                block = slice(start, start + QUERY_BLOCK)
                rows = queries[0, group, block].flatten(0, 1).float()
                scores = rows @ held.T * scale  # [group_size * block, stop - start]
                if softcap is not None:
                    scores = torch.tanh(scores / softcap) * softcap
                shares = scores.sub_(lse[0, group, block].flatten().float()[:, None]).exp_()
                self._sum = self._sum.to(shares.device) + shares.sum(0)
                self._num_rows += len(rows)

    def mean(self) -> torch.Tensor:
        """The share of a query's attention that each token has, [stop - start] in float32 on the CPU: the mean over
        heads and queries. It is 0 where no head was watched."""
        return self._sum.cpu() / max(self._num_rows, 1)


def watching_bytes(num_tokens: int, head_dim: int, group_size: int) -> int:
    """Most bytes that watching takes while the model attends: one head's keys, and twice a block's attention."""
    return 4 * num_tokens * (head_dim + 2 * group_size * QUERY_BLOCK)
