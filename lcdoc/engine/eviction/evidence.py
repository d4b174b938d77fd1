"""What a policy may look at when it judges the tokens that a KV head holds."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Evidence:
    """Queries, and the keys and values that they saw.

    queries: [1, num_kv_heads, group, num_queries, head_dim], rotated, the query heads of each KV head apart.
    lse: [1, num_kv_heads, group, num_queries], log-sum-exp of each query's scores over all that it saw.
    keys, values: [1, num_kv_heads, length, head_dim], all tokens held, rotated, in order of position.
    query_positions: [num_queries]; key_positions: [length].
    previous: [1, num_kv_heads, length], the scores given before; 0 for tokens that never had one.
    """

    queries: torch.Tensor
    lse: torch.Tensor
    keys: torch.Tensor
    values: torch.Tensor
    query_positions: torch.Tensor
    key_positions: torch.Tensor
    previous: torch.Tensor
    scale: float
    softcap: float | None = None

    def attention(self, first: int = 0, stop: int | None = None) -> torch.Tensor:
        """Attention that the queries first..stop-1 paid to every token, [1, num_kv_heads, group, queries, length]
        in float32. A row sums to less than 1 where the query also saw tokens that are not held."""
        queries, lse = self.queries[:, :, :, first:stop].float(), self.lse[:, :, :, first:stop].float()
        scores = queries @ self.keys.float().transpose(-1, -2).unsqueeze(2) * self.scale
        if self.softcap is not None:
            scores = torch.tanh(scores / self.softcap) * self.softcap
        later = self.key_positions[None, :] > self.query_positions[first:stop, None]
        return torch.exp(scores - lse.unsqueeze(-1)).masked_fill_(later, 0.0)


def pooled(scores: torch.Tensor, kernel_tokens: int) -> torch.Tensor:
    """The most that any of the kernel_tokens (odd) around a token has. scores: [..., length]."""
    flat = scores.flatten(0, -2)
    return torch.nn.functional.max_pool1d(flat, kernel_tokens, 1, kernel_tokens // 2).view_as(scores)
