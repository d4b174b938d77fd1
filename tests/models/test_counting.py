"""Configurations alone: read from a file, and their weights counted without any being made."""

import json
from pathlib import Path

import pytest
from transformers import GPT2Config, MixtralConfig

from lcdoc.errors import ModelError, UsageError
from lcdoc.models import count_weights, load_config_file, num_parameters

LLAMA_3_8B = Path(__file__).parents[1] / "data" / "configs" / "llama-3-8b.json"


def test_llama_3_8b_by_hand():
    weights = count_weights(load_config_file(LLAMA_3_8B))
    layer = 2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14_336
    assert weights.per_token == 32 * layer
    assert weights.total == 32 * (layer + 2 * 4096) + 4096 + 2 * 128_256 * 4096 == 8_030_261_248
    assert num_parameters(load_config_file(LLAMA_3_8B)) == weights.total


def test_of_experts_only_those_that_a_token_is_sent_to():
    config = MixtralConfig(
        vocab_size=100,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        num_local_experts=8,
        num_experts_per_tok=2,
    )
    weights = count_weights(config)
    attention, router, expert = 2 * 32 * 32 + 2 * 32 * 16, 8 * 32, 3 * 32 * 48
    assert weights.per_token == 2 * (attention + router + 2 * expert)
    assert weights.total == 2 * (attention + router + 8 * expert + 2 * 32) + 32 + 2 * 100 * 32


def test_embeddings_of_positions_are_not_multiplied_with():
    config = GPT2Config(vocab_size=100, n_positions=50, n_embd=32, n_layer=2, n_head=4)
    weights = count_weights(config)
    assert weights.per_token == 2 * (3 + 1 + 4 + 4) * 32 * 32
    assert weights.total > weights.per_token + (100 + 50) * 32


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (None, UsageError, "can't be read"),
        ("{", UsageError, "can't be read"),
        ("[1]", UsageError, "names no model_type"),
        ('{"hidden_size": 8}', UsageError, "names no model_type"),
        ('{"model_type": "nonesuch"}', ModelError, "'nonesuch' are unknown"),
        ('{"model_type": ["llama"]}', ModelError, "can't be used"),
        ('{"model_type": "llama", "hidden_size": "wide"}', ModelError, "can't be used"),
    ],
    ids=["missing", "cut", "list", "no-type", "unknown", "type-list", "text"],
)
def test_a_file_that_is_no_config(content, error, words, tmp_path):
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(error, match=words) as raised:
        load_config_file(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"model_type": "bert"},
        {"model_type": "t5"},
        {"model_type": "mamba"},
        {"num_attention_heads": 0},
        {"hidden_size": -4096},
    ],
    ids=str,
)
def test_a_config_that_no_reader_can_be_made_of(changes, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(json.loads(LLAMA_3_8B.read_text()) | changes), encoding="utf-8")
    with pytest.raises(ModelError) as raised:
        count_weights(load_config_file(path))
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)
