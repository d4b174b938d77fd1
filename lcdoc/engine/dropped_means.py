"""What is left of dropped tokens: a mean key and value for each stretch of the text, as heavy as its tokens were."""

import torch

# Dropped tokens of so many positions share a mean. Means of 128 to 1,024 positions served alike, one of all less well.
STRETCH_TOKENS = 1024
# Of a longer text the stretches are longer, so that no more of them take memory.
MOST_STRETCHES = 256

Part = tuple[torch.Tensor, torch.Tensor]


class DroppedMeans:
    """The mean dropped keys and values of one group of KV heads, in float32, by stretch of positions.

    A head that attends broadly keeps its bearings: n dropped tokens weigh as n keys equal to their mean would, a lower
    bound of what they weighed (Jensen). Immutable: `add` makes a new one.
    """

    def __init__(
        self, counts: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, stretch_tokens: int, empty: bool
    ) -> None:
        """counts: [num_heads, num_stretches]; keys, values: [num_heads, num_stretches, head_dim], means, 0 where the
        count is. stretch_tokens: of each stretch. empty: whether all counts are 0, known without asking the device."""
        self._counts, self._keys, self._values = counts, keys, values
        self._log_counts = counts.log()
        self._stretch_tokens, self._empty = stretch_tokens, empty

    @classmethod
    def none(cls, keys: torch.Tensor, values: torch.Tensor, capacity_tokens: int) -> "DroppedMeans":
        """Of a text of at most capacity_tokens, before anything is dropped. keys, values: examples that give heads,
        head_dims and device."""
        stretch_tokens = max(STRETCH_TOKENS, -(-capacity_tokens // MOST_STRETCHES))
        counts = torch.zeros(keys.shape[1], -(-capacity_tokens // stretch_tokens), device=keys.device)
        key_means, value_means = (counts.new_zeros(*counts.shape, part.shape[-1]) for part in (keys, values))
        return cls(counts, key_means, value_means, stretch_tokens, empty=True)

    def add(self, dropped: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]) -> "DroppedMeans":
        """dropped: for each head keys and values [length, head_dim] and positions [length]."""
        if not any(len(positions) for _, _, positions in dropped):
            return self
        counts = self._counts.clone()
        key_sums, value_sums = (means * counts[..., None] for means in (self._keys, self._values))
        for head, (keys, values, positions) in enumerate(dropped):
            stretches = positions.long() // self._stretch_tokens
            counts[head].index_add_(0, stretches, torch.ones_like(positions, dtype=counts.dtype))
            key_sums[head].index_add_(0, stretches, keys.float())
            value_sums[head].index_add_(0, stretches, values.float())
        divisor = counts.clamp_min(1.0)[..., None]
        return DroppedMeans(
            counts, key_sums / divisor, value_sums / divisor, self._stretch_tokens, empty=False
        )

    def attend(self, query: torch.Tensor, scale: float, softcap: float | None) -> Part | None:
        """Attention of each KV head's queries to its means, each as often as there are tokens in it; None where nothing
        was dropped. query: [1, heads, length, head_dim]. Returns output and log-sum-exp as attend does; a head that
        dropped nothing has -inf for it."""
        if self._empty:
            return None
        grouped = (
            query[0].unflatten(0, (len(self._counts), -1)).float()
        )  # [kv_heads, group, length, head_dim]
        scores = grouped @ self._keys.mT[:, None] * scale  # [kv_heads, group, length, stretches]
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        scores = scores + self._log_counts[:, None, None]
        lse = torch.logsumexp(scores, dim=-1)
        weights = torch.exp(scores - lse.clamp_min(torch.finfo(lse.dtype).min).unsqueeze(-1))
        output = (weights @ self._values[:, None]).to(query.dtype)
        return output.flatten(0, 1)[None], lse.flatten(0, 1)[None]

    @property
    def nbytes(self) -> int:
        return 2 * self._counts.nbytes + self._keys.nbytes + self._values.nbytes
