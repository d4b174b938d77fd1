"""Weights kept in fewer bits: what is computed from them, what they take, and how they are loaded."""

import json
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoConfig, AutoModelForCausalLM, LlamaForCausalLM

from lcdoc.errors import ModelError
from lcdoc.models import load_model, resolve, rounded_linear
from lcdoc.models.int4_linear import TILES, Int4Linear, Levels
from lcdoc.models.rounded_linear import Bfloat16Linear, Int8Linear, RoundedLinear
from lcdoc.models.weights import loaded_bytes, weights_bytes

KINDS = {"bf16": Bfloat16Linear, "int8": Int8Linear, "int4": Int4Linear}
# Each weight's error, as a share of the largest weight that it shares its scale with.
STEPS = {"bf16": 2**-8, "int8": 0.5 / 127, "int4": 0.5 / 15 * 2}

TINY = {
    "vocab_size": 99,
    "hidden_size": 40,
    "intermediate_size": 72,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "pad_token_id": 0,
}


def load(folder: Path, **options: Any) -> Any:
    return load_model(resolve(str(folder)), **{"device": "cpu", "attn_implementation": "sdpa"} | options)


def linear_of(in_features: int, out_features: int, bias: bool, dtype: torch.dtype) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(in_features, out_features, bias).to(dtype).requires_grad_(False)


def saved(folder: Path, **config: Any) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**TINY | config)).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("shape", [(63, 111), (1, 1), (32, 7), (96, 64), (33, 1)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("weights", KINDS)
def test_a_layer_computes_with_its_unpacked_weight(
    weights: str, shape: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    linear = linear_of(*shape, True, dtype)
    rounded = KINDS[weights](linear)
    unpacked = rounded.unpack(slice(None))
    assert unpacked.shape == linear.weight.shape and unpacked.dtype == dtype
    for num_rows in (1, 5, 40):
        states = torch.randn(2, num_rows, shape[0]).to(dtype)
        expected = F.linear(states.double(), unpacked.double(), linear.bias.double())
        # The kernel for four bits computes in bfloat16.
        eps = torch.finfo(torch.bfloat16 if weights == "int4" else dtype).eps
        bound = 8 * eps * (1 + states.abs().double().sum(-1, keepdim=True))
        for block_bytes in (1, 3 * shape[0] * dtype.itemsize, 1 << 20):
            monkeypatch.setitem(rounded_linear.UNPACKED_BYTES, "cpu", block_bytes)
            output = rounded(states)
            assert output.dtype == dtype
            assert ((output.double() - expected).abs() <= bound).all()


@pytest.mark.parametrize("shape", [(63, 111), (1, 1), (96, 64)], ids="{0[0]}x{0[1]}".format)
@pytest.mark.parametrize("weights", KINDS)
def test_no_weight_moves_by_more_than_half_a_step(weights: str, shape: tuple[int, int]) -> None:
    linear = linear_of(*shape, False, torch.float32)
    linear.weight[0] *= 1000  # a row of its own scale
    error = (KINDS[weights](linear).unpack(slice(None)) - linear.weight).abs()
    largest = linear.weight.abs().amax(dim=1, keepdim=True)
    assert (error <= 1.01 * STEPS[weights] * largest).all()
    assert error.max() > 0 or shape == (1, 1)


@pytest.mark.parametrize("weights", KINDS)
def test_zeros_and_equal_weights_stay(weights: str) -> None:
    linear = linear_of(40, 3, False, torch.float32)
    linear.weight[0], linear.weight[1], linear.weight[2] = 0.0, 0.5, -0.25
    assert torch.equal(KINDS[weights](linear).unpack(slice(None)), linear.weight)


def test_sixteen_levels_of_each_group_stay() -> None:
    linear = linear_of(64, 8, False, torch.float32)
    levels = torch.randint(0, 16, (8, 2, 32)).float()
    levels[..., 0], levels[..., 1] = 0, 15
    linear.weight.copy_((levels * 0.125 - 1).flatten(1))
    assert torch.equal(Int4Linear(linear).unpack(slice(None)), linear.weight)


# Every kind of weights with every kind of model, and with every dtype, tied or not.
@pytest.mark.parametrize(
    ("model_type", "weights", "dtype", "tied"),
    [
        (model_type, weights, ("float32", "bfloat16")[(row + column) % 2], (row // 2 + column) % 2 == 0)
        for row, model_type in enumerate(("llama", "qwen2", "gemma2", "phi3"))
        for column, weights in enumerate(("model", *KINDS))
    ],
)
def test_weights_take_what_was_planned(
    tmp_path: Path, model_type: str, weights: str, dtype: str, tied: bool
) -> None:
    folder = saved(tmp_path / "model", model_type=model_type, tie_word_embeddings=tied)
    model = load(folder, dtype=dtype, weights=weights, attn_implementation="eager")
    planned = weights_bytes(AutoConfig.from_pretrained(folder), getattr(torch, dtype), weights)
    assert loaded_bytes(model) == planned
    assert all(tensor.device.type == "cpu" for tensor in (*model.parameters(), *model.buffers()))


@pytest.mark.parametrize(("weights", "cosine"), [("bf16", 0.9999), ("int8", 0.999), ("int4", 0.98)])
def test_logits_stay_close(
    tiny_folder: Path, tiny_model: LlamaForCausalLM, weights: str, cosine: float
) -> None:
    model = load(tiny_folder, dtype="float32", weights=weights)
    token_ids = torch.arange(3, 40)[None]
    ours, theirs = model(token_ids).logits, tiny_model(token_ids).logits
    assert F.cosine_similarity(ours, theirs, dim=-1).min() > cosine
    assert not torch.equal(ours, theirs)
    kinds = {type(module) for module in model.modules() if isinstance(module, (nn.Linear, RoundedLinear))}
    assert kinds == {KINDS[weights], nn.Linear}  # nn.Linear: the output layer, which is the embeddings
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_an_output_layer_of_its_own_keeps_eight_bits(tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", model_type="llama", tie_word_embeddings=False)
    model = load(folder, weights="int4")
    assert type(model.lm_head) is Int8Linear
    assert type(model.model.layers[1].mlp.down_proj) is Int4Linear


def test_bfloat16_weights_are_a_bfloat16_models_own(tiny_folder: Path) -> None:
    model = load(tiny_folder, dtype="bfloat16", weights="bf16")
    assert not any(isinstance(module, RoundedLinear) for module in model.modules())


@pytest.mark.parametrize("weights", ["model", "int8"])
def test_files_of_another_dtype(tmp_path: Path, tiny_model: LlamaForCausalLM, weights: str) -> None:
    folder = tmp_path / "half"
    halved = deepcopy(tiny_model).bfloat16()
    halved.generation_config.eos_token_id = [2, 7]
    halved.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("*.safetensors"))) > 1
    model = load(folder, dtype="float32", weights=weights)
    assert model.generation_config.eos_token_id == [2, 7]
    stored = halved.model.layers[1].self_attn.q_proj.weight.detach().float()
    found = model.model.layers[1].self_attn.q_proj
    assert torch.equal(found.weight, stored if weights == "model" else Int8Linear(_linear(stored)).weight)


def _linear(weight: torch.Tensor) -> nn.Linear:
    linear = linear_of(weight.shape[1], weight.shape[0], False, weight.dtype)
    linear.weight.copy_(weight)
    return linear


def test_a_gguf_file(tiny_gguf: Path) -> None:
    model = load(tiny_gguf, dtype="float32", weights="int4")
    assert type(model.model.layers[0].mlp.up_proj) is Int4Linear


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hidden_size": 64}, "the weights can't be loaded"),
        ({"num_hidden_layers": 3}, "the weights lack"),
        ({"quantization_config": {"quant_method": "fp8"}}, "rounded already; leave out --weights int8"),
    ],
)
def test_files_that_do_not_fit(tiny_folder: Path, changes: dict[str, Any], message: str) -> None:
    path = tiny_folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")
    with pytest.raises(ModelError) as caught:
        load(tiny_folder, weights="int8")
    assert message in str(caught.value) and "\n" not in str(caught.value)


PEAK = """
import sys
import psutil
from lcdoc.engine.memory import peak_rss_bytes
from lcdoc.models import load_model, load_tokenizer, resolve
from lcdoc.models.weights import loaded_bytes
folder, weights, dtype = sys.argv[1:]
load_model(resolve(sys.argv[1] + "/warm"), device="cpu", dtype=dtype, weights=weights, attn_implementation="sdpa")
before = psutil.Process().memory_info().rss
model = load_model(resolve(sys.argv[1] + "/large"), device="cpu", dtype=dtype, weights=weights,
                   attn_implementation="sdpa")
for parameter in model.parameters():
    parameter.view(-1)[::256].float().sum()  # touches every page
print(peak_rss_bytes() - before - loaded_bytes(model))
"""


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models: one to warm up with, and one of 340 MB."""
    folder = tmp_path_factory.mktemp("models")
    saved(folder / "warm", model_type="llama")
    shape = {"hidden_size": 512, "intermediate_size": 4096, "num_hidden_layers": 12, "head_dim": 128}
    saved(folder / "large", model_type="llama", **shape)
    return folder


@pytest.mark.parametrize(
    ("weights", "dtype"),
    [("model", "bfloat16"), ("bf16", "float32"), ("int8", "float32"), ("int4", "bfloat16")],
)
def test_a_model_is_never_whole_in_its_files_format(small_and_large: Path, weights: str, dtype: str) -> None:
    command = [sys.executable, "-c", PEAK, str(small_and_large), weights, dtype]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 40 << 20, "a tensor and what it is worked on with; the files hold 340 MB"


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1"])
def test_four_bits_of_a_gguf_file_are_not_rounded_again(write_gguf: Callable[..., Path], kind: str) -> None:
    path = str(write_gguf(kind=kind))
    plain, rounded = (load(Path(path), dtype="float32", weights=weights) for weights in ("model", "int4"))
    for name, linear in rounded.named_modules():
        if isinstance(linear, Int4Linear):
            own = plain.get_submodule(name).weight
            # Steps and offsets in bfloat16, levels as they are; levels found anew would be off by half a step.
            error = (linear.unpack(slice(None)) - own).abs().unflatten(1, (-1, 32))
            assert (error <= 2**-7 * own.abs().unflatten(1, (-1, 32)).amax(-1, keepdim=True)).all()


def test_the_layout_is_that_of_the_kernel() -> None:
    if torch.backends.cpu.get_cpu_capability() not in TILES:
        pytest.skip("this processor has no such kernel")
    levels = torch.randint(0, 16, (192, 64))
    ones = torch.ones(192, 2)
    packed = Int4Linear(linear_of(64, 192, False, torch.float32)).pack_levels(
        Levels(levels.to(torch.uint8), ones, ones)
    )
    theirs = torch.ops.aten._convert_weight_to_int4pack_for_cpu(levels.int(), 1)
    assert torch.equal(packed["weight"], theirs)
