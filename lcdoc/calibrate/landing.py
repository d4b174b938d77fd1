"""Where each head's attention lands while a passkey is asked for and repeated: a quick way to find retrieval heads."""

from collections.abc import Iterable

import torch

from lcdoc.calibrate.passkeys import Example, Recall
from lcdoc.calibrate.whole_attention import WholeAttention, attend_full


class Landing(WholeAttention):
    """Adds up, for each KV head, the attention that answers pay to the passkey they repeat.

    Of a group of query heads the one that pays most counts. What a streaming head would see anyway, the first
    sink_size tokens and the last recent_size, does not count.
    """

    def __init__(self, num_layers: int, num_kv_heads: int, sink_size: int, recent_size: int) -> None:
        self.sink_size, self.recent_size = sink_size, recent_size
        self.recalls: tuple[Recall, ...] = ()
        self.total = torch.zeros(num_layers, num_kv_heads, dtype=torch.float64)
        self.num_recalls = 0

    @property
    def mean(self) -> torch.Tensor:
        """[num_layers, num_kv_heads], from 0 to 1."""
        return self.total / max(1, self.num_recalls)

    def attend(
        self,
        layer_idx: int,
        query: torch.Tensor,
        keys: torch.Tensor,
        values: torch.Tensor,
        scale: float,
        softcap: float | None,
    ) -> torch.Tensor:
        grouped = query[0].unflatten(0, (keys.shape[1], -1)).float()  # [kv, group, length, d]
        for recall in self.recalls:
            landed = self._landed(grouped, keys[0].float(), recall, scale, softcap)
            self.total[layer_idx] += landed.amax(dim=1).double().cpu()
        return attend_full(query, keys, values, scale, softcap)

    def _landed(
        self, query: torch.Tensor, keys: torch.Tensor, recall: Recall, scale: float, softcap: float | None
    ) -> torch.Tensor:
        """The mean over the answer's queries of what lands on the passkey, [kv_heads, group]."""
        rows = torch.arange(recall.answered.start, recall.answered.stop, device=query.device)
        scores = query[:, :, rows] @ keys.transpose(-1, -2).unsqueeze(1) * scale
        if softcap is not None:
            scores = torch.tanh(scores / softcap) * softcap
        column = torch.arange(keys.shape[1], device=query.device)
        weights = torch.softmax(scores.masked_fill(column > rows[:, None], -torch.inf), dim=-1)
        far = (column >= self.sink_size) & (column <= rows[:, None] - self.recent_size)
        planted = (column >= recall.planted.start) & (column < recall.planted.stop)
        return (weights * (far & planted)).sum(dim=-1).mean(dim=-1)


def rank_gates(landed: torch.Tensor) -> torch.Tensor:
    """The share of heads on which less lands, from 0 to 1: the order is what was measured, its size is not."""
    order = landed.flatten().argsort().argsort()
    return (order / max(1, len(order) - 1)).view_as(landed)


@torch.inference_mode()
def observe(
    model: torch.nn.Module, landing: Landing, examples: Iterable[Example], device: torch.device
) -> None:
    """Reads each example once; the model attends through the landing already."""
    for example in examples:
        landing.recalls = example.recalls
        model(input_ids=torch.tensor([example.token_ids], device=device), use_cache=False)
        landing.num_recalls += len(example.recalls)
