"""Turning keys: a key moved to another position is the key that the model would have made there."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lcdoc.engine.attention import register
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.rope import Rotation
from lcdoc.errors import ModelError

CONFIG = Path(__file__).parents[1] / "data" / "configs" / "small.json"
SMALL = json.loads(CONFIG.read_text(encoding="utf-8")) | {
    "num_hidden_layers": 1,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
YARN = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 512}


def model_of(kind, **options):
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **SMALL | options)
    return AutoModelForCausalLM.from_config(config, attn_implementation=register()).eval()


@torch.inference_mode()
def keys_at(model, first):
    """Keys of the same four tokens from position `first` on."""
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=8)
    model(
        input_ids=torch.tensor([[5, 6, 7, 8]]),
        position_ids=torch.arange(first, first + 4)[None],
        past_key_values=reader.cache,
    )
    [(_, buffer)] = reader.cache.groups()
    return buffer.held()[0]


@pytest.mark.parametrize(
    "kind,options",
    [
        ("llama", {}),
        ("qwen2", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
        ("llama", {"rope_parameters": YARN, "max_position_embeddings": 2048}),
        ("phi", {"partial_rotary_factor": 0.5}),
    ],
    ids=["llama", "qwen2-1e6", "yarn", "phi-partial"],
)
@pytest.mark.parametrize("start,stop", [(0, 1), (700, 3), (3, 700), (1500, 0)])
def test_a_turned_key_is_the_one_made_there(kind, options, start, stop):
    model = model_of(kind, **options)
    steps = torch.full((4,), stop - start)
    turned = Rotation.of(model).turn(keys_at(model, start), steps)
    assert torch.allclose(turned, keys_at(model, stop), atol=2e-4)


def test_each_token_moves_by_its_own_step():
    model = model_of("llama")
    rotation = Rotation.of(model)
    keys = keys_at(model, 10)
    steps = torch.tensor([0, -3, 5, 100])
    turned = rotation.turn(keys, steps)
    for index, step in enumerate(steps.tolist()):
        alone = rotation.turn(keys[:, :, index : index + 1], torch.tensor([step]))
        assert torch.equal(turned[:, :, index : index + 1], alone)
    assert torch.equal(turned[:, :, 0], keys[:, :, 0])


@pytest.mark.parametrize(
    "kind,options", [("gpt2", {"n_embd": 64, "n_head": 4, "n_layer": 1}), ("cohere", {}), ("gemma3_text", {})]
)
def test_other_embeddings_are_refused(kind, options):
    with pytest.raises(ModelError, match="closed up"):
        Rotation.of(model_of(kind, **options))
