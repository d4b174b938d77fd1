"""What is left of dropped tokens: a mean key and value for each stretch of the text, as heavy as its tokens were."""

import torch

# Dropped tokens of so many positions share a mean. Means of 128 to 1,024 positions served alike, one of all less well.
STRETCH_TOKENS = 1024
# Of a longer text the stretches are longer, so that no more of them take memory.
MOST_STRETCHES = 256

Part = tuple[torch.Tensor, torch.Tensor]


class DroppedMeans:
    """The sums of dropped keys and values of one group of KV heads, in float32, by stretch of positions.

    A head that attends broadly keeps its bearings: n dropped tokens weigh as n keys equal to their mean would, a lower
    bound of what they weighed (Jensen). Immutable: `add` makes a new one.
    """

    def __init__(
        self, counts: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, stretch_tokens: int
    ) -> None:
        """counts: [num_heads, num_stretches]; keys, values: [num_heads, num_stretches, head_dim], sums.
        stretch_tokens: of each stretch."""
        self._counts, self._keys, self._values = counts, keys, values
        self._stretch_tokens = stretch_tokens

    @classmethod
    def none(cls, keys: torch.Tensor, values: torch.Tensor, capacity_tokens: int) -> "DroppedMeans":
        """Of a text of at most capacity_tokens, before anything is dropped. keys, values: examples that give heads,
        head_dims and device."""
        stretch_tokens = max(STRETCH_TOKENS, -(-capacity_tokens // MOST_STRETCHES))
        counts = torch.zeros(keys.shape[1], -(-capacity_tokens // stretch_tokens), device=keys.device)
        key_sums, value_sums = (counts.new_zeros(*counts.shape, part.shape[-1]) for part in (keys, values))
        return cls(counts, key_sums, value_sums, stretch_tokens)

    def add(self, dropped: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> "DroppedMeans":
        """dropped: for each head keys and values [length, head_dim] and positions [length]."""
        counts, key_sums, value_sums = self._counts.clone(), self._keys.clone(), self._values.clone()
        for head, (keys, values, positions) in enumerate(dropped):
            stretches = positions.long() // self._stretch_tokens
            counts[head].index_add_(0, stretches, torch.ones_like(positions, dtype=counts.dtype))
            key_sums[head].index_add_(0, stretches, keys.float())
            value_sums[head].index_add_(0, stretches, values.float())
        return DroppedMeans(counts, key_sums, value_sums, self._stretch_tokens)

    def attend(self, query: torch.Tensor, head: int, scale: float, softcap: float | None) -> Part | None:
        """Attention of one KV head's queries to its means, each as often as there are tokens in it; None where none was
        dropped. query: [1, group, length, head_dim]. Returns output and log-sum-exp as attend does."""
        stretches = self._counts[head].nonzero().squeeze(1)
        if not len(stretches):
            return None
        counts = self._counts[head, stretches]
        keys, values = (sums[head, stretches] / counts[:, None] for sums in (self._keys, self._values))
        scores = query.float() @ keys.T * scale  # [1, group, length, stretches]
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        scores = scores + counts.log()
        lse = torch.logsumexp(scores, dim=-1)
        return (torch.exp(scores - lse.unsqueeze(-1)) @ values).to(query.dtype), lse

    @property
    def nbytes(self) -> int:
        return self._counts.nbytes + self._keys.nbytes + self._values.nbytes
