"""Models of two layers that read a few hundred tokens at once."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lcdoc.engine.attention import register


@pytest.fixture(scope="session")
def tiny_decoder() -> Callable[..., Any]:
    """By its kind and what else its configuration says; of two layers of two KV heads."""

    @cache
    def make(kind: str, **options: Any) -> Any:
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            kind,
            vocab_size=97,
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            pad_token_id=0,
            **{"max_position_embeddings": 1024, **options},
        )
        model = AutoModelForCausalLM.from_config(config).eval()
        model.set_attn_implementation(register())
        return model

    return make
