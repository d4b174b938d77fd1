"""Stock transformers as its users run it: what every mode is measured beside."""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import torch
from transformers import DynamicCache

from lcdoc.engine.reader import log_probabilities


class StockCache(DynamicCache):
    """transformers' growing cache, which can also tell its size."""

    @property
    def nbytes(self) -> int:
        """Bytes of the keys and values held."""
        layers: list[Any] = self.layers
        return sum(layer.keys.nbytes + layer.values.nbytes for layer in layers if layer.is_initialized)


class StockReader:
    """Plain transformers: each prefill in one forward pass, a DynamicCache, greedy decoding one by one."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.cache = StockCache(config=model.config)
        self.logits: torch.Tensor | None = None  # [vocab], of the last token read

    @torch.inference_mode()
    def prefill(self, token_ids: Sequence[int], on_chunk: Callable[[int], None] | None = None) -> None:
        """Reads token_ids at once; on_chunk hears only that all of them are done."""
        self.logits = self._forward(torch.as_tensor(token_ids, dtype=torch.long))[-1]
        if on_chunk is not None:
            on_chunk(len(token_ids))

    def read(
        self,
        token_ids: Sequence[int],
        on_chunk: Callable[[int], None] | None = None,
        *,
        questions: Sequence[Sequence[int]] = (),
        repeat_ids: Sequence[int] = (),
    ) -> None:
        """As prefill: it keeps everything, whatever will be asked."""
        self.prefill(token_ids, on_chunk)

    @torch.inference_mode()
    def decode(
        self, pick: Callable[[torch.Tensor], int], stop_ids: Collection[int], max_new_tokens: int
    ) -> Iterator[int]:
        """As Reader.decode."""
        assert self.logits is not None, "decode needs at least one token read"
        for _ in range(max_new_tokens):
            token_id = pick(self.logits)
            if token_id in stop_ids:
                return
            yield token_id
            self.logits = self._forward(torch.tensor([token_id]))[-1]

    @torch.inference_mode()
    def score(self, token_ids: Sequence[int]) -> torch.Tensor:
        """As Reader.score, in one forward pass."""
        assert self.logits is not None, "score needs at least one token read"
        ids = torch.as_tensor(token_ids, dtype=torch.long)
        after = self._forward(ids, num_logits=len(ids))
        scores = log_probabilities(torch.cat((self.logits[None], after[:-1])), ids)
        self.logits = after[-1]
        return scores

    @torch.inference_mode()
    def mark(self) -> tuple[StockCache, torch.Tensor | None]:
        """A point to return to, any number of times. It is a copy: not every layer's cache can be cropped."""
        return copy.deepcopy(self.cache), self.logits

    @torch.inference_mode()
    def rewind(self, mark: tuple[StockCache, torch.Tensor | None]) -> None:
        """Forgets everything since the mark."""
        cache, self.logits = mark
        self.cache = copy.deepcopy(cache)

    def _forward(self, ids: torch.Tensor, num_logits: int = 1) -> torch.Tensor:
        """ids: [length]. Returns the logits after the last num_logits of them, [num_logits, vocab]."""
        output = self.model(
            input_ids=ids[None].to(self.model.device),
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=num_logits,
        )
        logits: torch.Tensor = output.logits[0, -num_logits:]
        return logits
