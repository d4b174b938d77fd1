"""Decoding several sequences together: one token of each goes through the model in one pass, so that its weights are
read once for all of them.

Nothing is padded: each sequence keeps its own cache and position, and attends over it as it does alone.
"""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, NamedTuple

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

from lcdoc.engine.attention_trace import AttentionTrace
from lcdoc.engine.cache import LayerCache
from lcdoc.engine.extension import put_rotary
from lcdoc.engine.memory import allocating
from lcdoc.engine.reader import Reader


class Step(NamedTuple):
    """A token that was chosen to come next in a reader's text. trace: sees what it attends to."""

    reader: Reader
    token_id: int
    trace: AttentionTrace | None = None

    def read(self) -> None:
        """By itself."""
        self.reader.step(self.token_id, self.trace)


class JointLayer(CacheLayerMixin):
    """One layer of several caches, each of which has a row of the batch."""

    is_sliding = False

    def __init__(self, layers: Sequence[LayerCache]) -> None:
        super().__init__()
        self.layers = tuple(layers)

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Each row's own layer has its buffers already."""

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Passes [rows, num_kv_heads, 1, head_dim] through, tagged for the attention function."""
        key_states.lcdoc_layers = self.layers  # type: ignore[attr-defined]
        return key_states, value_states

    def get_seq_length(self) -> int:
        return max(layer.get_seq_length() for layer in self.layers)

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        return self.get_seq_length() + query_length, 0

    def get_max_length(self) -> int:
        return max(layer.get_max_length() for layer in self.layers)


class JointCache(Cache):
    """Several caches of one model as one, for the time of a pass."""

    def __init__(self, readers: Sequence[Reader]) -> None:
        rows = zip(*(reader.cache.layers for reader in readers), strict=True)
        layers: list[Any] = [JointLayer(layers) for layers in rows]
        super().__init__(layers=layers)


def read_together(steps: Sequence[Step]) -> None:
    """Reads the next token of each reader's text, those in one pass whose positions are turned alike. All readers are
    of one model, and each has read something. No graph is captured of such a pass.

    Raises AllocationFailed with no cache whole: every reader then has to go back to a mark."""
    alike: dict[int, list[Step]] = defaultdict(list)
    for step in steps:
        alike[id(step.reader.rotary)].append(step)
    for pass_steps in alike.values():
        if len(pass_steps) == 1:
            pass_steps[0].read()
        else:
            _read_at_once(pass_steps)


@torch.inference_mode()
def _read_at_once(steps: Sequence[Step]) -> None:
    readers = [step.reader for step in steps]
    model, device = readers[0].model, readers[0].model.device
    assert all(reader.model is model for reader in readers)
    positions = [reader.seen_tokens for reader in readers]
    put_rotary(model, readers[0].rotary)
    forward = partial(
        model,
        input_ids=torch.tensor([[step.token_id] for step in steps], device=device),  # [rows, 1]
        position_ids=torch.stack([reader.positions(1) for reader in readers]),  # [rows, 1]
        past_key_values=JointCache(readers),
        use_cache=True,
        logits_to_keep=1,
    )
    with ExitStack() as decoding:
        for reader, _, trace in steps:
            decoding.enter_context(reader.cache.decoding())
            reader.cache.follow(trace)
            decoding.callback(reader.cache.follow, None)
        logits = allocating(forward).logits[:, -1]  # [rows, vocab]
    for (reader, _, trace), position, row in zip(steps, positions, logits, strict=True):
        reader.logits = row
        if trace is not None:
            trace.end_query(position)
