"""What a layer costs each time that it is called, whatever its size."""

from collections.abc import Callable
from typing import Any

import torch

from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.stopwatch import MAX_RUNS, measure_s

LAYERS, TOKENS = 8, 8


def measure_layer_step_s(
    device: torch.device, dtype: torch.dtype, offload: Callable[[torch.nn.Module], object] | None = None
) -> float:
    """For one token, in a model so small that its numbers cost nothing beside the calls.

    offload: given the layers, takes their weights off the device; what it costs to bring them back counts then.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    from lcdoc.engine.attention import register

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    config._attn_implementation = register()
    with device:
        model: Any = LlamaForCausalLM(config).eval()
    model.to(dtype).requires_grad_(False)
    if offload is not None:
        offload(model.model.layers)
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=(MAX_RUNS + 2) * TOKENS)
    reader.prefill([1])

    def steps() -> None:
        for _ in reader.decode(lambda logits: 1, (), TOKENS):
            pass

    return measure_s(device, steps) / TOKENS / LAYERS
