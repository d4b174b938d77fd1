"""Layers that read the same states, multiplied as one: the same numbers as each by itself."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM

from lcdoc.models import load_model, resolve
from lcdoc.models.int4_linear import Int4Linear
from lcdoc.models.joint_linear import JointLinear, JointPart, join_linears, may_join
from lcdoc.models.rounded_linear import Int8Linear
from lcdoc.models.weights import loaded_bytes

needs_kernel = pytest.mark.skipif(
    not Int4Linear.has_kernel, reason="the CPU has no quick kernel for four bits"
)
NAMES = "q_proj", "k_proj", "v_proj"
ROWS = Int4Linear.row_step


def linears_of(in_features: int, sizes: tuple[int, ...], bias: bool, dtype: torch.dtype) -> list[Int4Linear]:
    torch.manual_seed(0)
    return [Int4Linear(nn.Linear(in_features, size, bias).to(dtype).requires_grad_(False)) for size in sizes]


def joined(linears: list[Int4Linear]) -> nn.Module:
    module = nn.Module()
    for name, linear in zip(NAMES, linears, strict=True):
        setattr(module, name, linear)
    join_linears(module)
    return module


@needs_kernel
@pytest.mark.parametrize("num_rows", [1, 5, 16, 17, 300])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("in_features", [96, 111])
def test_each_layer_has_its_own_output(
    num_rows: int, bias: bool, dtype: torch.dtype, in_features: int
) -> None:
    linears = linears_of(in_features, (3 * ROWS, ROWS, 2 * ROWS), bias, dtype)
    module = joined(linears)
    assert all(type(getattr(module, name)) is JointPart for name in NAMES)
    states = torch.randn(1, num_rows, in_features).to(dtype)
    for name, linear in zip(NAMES, linears, strict=True):
        expected = linear(states)
        found = getattr(module, name)(states)
        assert found.shape == expected.shape and found.dtype == expected.dtype
        torch.testing.assert_close(found, expected, rtol=0, atol=0)


@needs_kernel
def test_blocks_of_rows_are_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    linears = linears_of(64, (3 * ROWS, ROWS, 2 * ROWS), True, torch.bfloat16)
    module = joined(linears)
    monkeypatch.setattr(Int4Linear, "_block_rows", lambda *rest: 2 * ROWS)
    states = torch.randn(40, 64).bfloat16()
    for name, linear in zip(NAMES, linears, strict=True):
        assert torch.equal(getattr(module, name)(states), linear(states))


@needs_kernel
def test_layers_may_be_asked_in_any_order_and_again() -> None:
    linears = linears_of(64, (ROWS, 2 * ROWS, ROWS), False, torch.bfloat16)
    joint = JointLinear(linears)
    states, others = torch.randn(2, 1, 64).bfloat16()
    for idx, asked in [(2, states), (0, states), (0, states), (1, others), (1, states), (0, others)]:
        assert torch.equal(joint.part(idx, asked), linears[idx](asked))


@needs_kernel
def test_nothing_is_kept_once_all_have_theirs() -> None:
    joint = JointLinear(linears_of(64, (ROWS, ROWS), False, torch.bfloat16))
    states = torch.randn(1, 64).bfloat16()
    for idx in (0, 1):
        joint.part(idx, states)
    assert joint._states is None and not joint._waiting


@needs_kernel
def test_what_may_be_joined() -> None:
    def pair(**changes: object) -> list[Int4Linear]:
        linears = linears_of(64, (ROWS, ROWS), False, torch.bfloat16)
        for name, value in changes.items():
            setattr(linears[1], name, value)
        return linears

    first = pair()[0]
    assert may_join(pair())
    assert not may_join([first, None]) and not may_join([first, nn.Linear(64, ROWS)])
    assert not may_join([first, Int8Linear(nn.Linear(64, ROWS))])
    assert not may_join(pair(dtype=torch.float32)) and not may_join(pair(in_features=32))
    assert not may_join(pair(bias=nn.Parameter(torch.zeros(ROWS), requires_grad=False)))
    assert not may_join(pair(_hf_hook=SimpleNamespace()))
    assert not may_join(linears_of(64, (ROWS, ROWS - 1), False, torch.bfloat16))
    assert not may_join([linear.to("meta") for linear in pair()])


@needs_kernel
@pytest.mark.parametrize("model_type", ["llama", "qwen2"])
def test_a_model_answers_as_before_and_takes_no_more(model_type: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "intermediate_size": 3 * ROWS, "num_attention_heads": 2, "head_dim": ROWS}
    config = AutoConfig.for_model(
        model_type, vocab_size=99, num_hidden_layers=2, num_key_value_heads=1, pad_token_id=0, **sizes
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    models = [
        load_model(
            resolve(str(tmp_path / "model")),
            device="cpu",
            dtype="bfloat16",
            weights="int4",
            packed=packed,
            attn_implementation="sdpa",
        )
        for packed in (False, True)
    ]
    if not any(isinstance(module, JointPart) for module in models[1].modules()):
        join_linears(models[1])  # where the CPU packs nothing
    assert sum(isinstance(module, JointPart) for module in models[1].modules()) == 2 * 5
    token_ids = torch.arange(3, 40)[None]
    greedy = {"max_new_tokens": 20, "do_sample": False}
    with torch.inference_mode():
        answers = [model.generate(token_ids, **greedy) for model in models]
    assert torch.equal(*answers)
    assert loaded_bytes(models[0]) == loaded_bytes(models[1])
