"""Models of random weights and readers of them, for tests that say in LENGTH and CHUNK how many tokens they read."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lcdoc.engine.attention import register
from lcdoc.engine.eviction import POLICIES, Eviction
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader

VOCAB = 97
MORE_TOKENS = 50


@pytest.fixture(scope="session")
def model_of() -> Callable[..., Any]:
    """A model of six layers of two KV heads, by its kind and what else its configuration says."""

    def make(kind: str, **options: Any) -> Any:
        torch.manual_seed(0)
        config = AutoConfig.for_model(
            kind,
            vocab_size=VOCAB,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=6,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=16,
            max_position_embeddings=4096,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
            **options,
        )
        model = AutoModelForCausalLM.from_config(config).eval()
        model.set_attn_implementation(register())
        return model

    return make


@pytest.fixture(scope="module")
def ids(request: pytest.FixtureRequest) -> list[int]:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(VOCAB, (request.module.LENGTH,), generator=generator).tolist()


@pytest.fixture(scope="module")
def reader_for(request: pytest.FixtureRequest) -> Callable[..., Reader]:
    """A reader with room for the tokens and MORE_TOKENS."""
    length, chunk = request.module.LENGTH, request.module.CHUNK

    def make(
        model: Any,
        *,
        chunk_tokens: int = chunk,
        kv_dtype: str = "model",
        eviction: Eviction | None = None,
        split: HeadSplit | None = None,
    ) -> Reader:
        return Reader(
            model,
            split or HeadSplit.exact(),
            capacity_tokens=length + MORE_TOKENS,
            chunk_tokens=chunk_tokens,
            kv_dtype=kv_dtype,
            eviction=eviction,
        )

    return make


@pytest.fixture(scope="module")
def eviction(request: pytest.FixtureRequest) -> Callable[[str, int], Eviction]:
    """By a policy and what it keeps of each head, with room for two chunks more."""
    return lambda policy, keep_tokens: Eviction(POLICIES[policy], keep_tokens, 2 * request.module.CHUNK + 20)
