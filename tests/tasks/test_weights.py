"""Weights in fewer bits, from the settings to the receipt."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import LlamaConfig

from lcdoc.config import ReadSettings
from lcdoc.engine.model_shape import ModelShape
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.models import layer_bytes, weights_bytes
from lcdoc.tasks.plan import Plan, list_rungs, make_plan
from lcdoc.tasks.room import Need

CONFIG = LlamaConfig(
    vocab_size=64,
    hidden_size=64,
    intermediate_size=96,
    num_hidden_layers=6,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=4096,
)


def shape_of(weights: str, dtype: torch.dtype = torch.float32) -> ModelShape:
    return ModelShape.from_config(CONFIG, weights_bytes(CONFIG, dtype, weights), dtype)


def rungs_of(settings: ReadSettings, dtype: torch.dtype = torch.float32) -> list:
    return list(list_rungs(settings, shape_of(settings.weights, dtype), 2000, base_bytes=0))


@pytest.mark.parametrize(("weights", "bits"), [("bf16", 16), ("int8", 8), ("int4", 4)])
def test_rounded_weights_are_told_by_every_way_to_read(weights: str, bits: int) -> None:
    rungs, whole = rungs_of(ReadSettings(weights=weights)), rungs_of(ReadSettings())
    loss = f"weights rounded to {bits} bits"
    assert all(rung.loss.startswith(loss) for rung in rungs)
    assert rungs[0].loss == loss and rungs[0].name == "as asked"
    saved_bytes = shape_of("model").weights_bytes - shape_of(weights).weights_bytes
    assert saved_bytes > 0
    assert [rung.peak_bytes + saved_bytes for rung in rungs] == [rung.peak_bytes for rung in whole]


def test_weights_are_never_rounded_unasked() -> None:
    assert not any("weights" in rung.loss for rung in rungs_of(ReadSettings()))


def test_bfloat16_weights_are_no_loss_to_a_bfloat16_model() -> None:
    settings = ReadSettings(mode="exact", weights="bf16")
    assert rungs_of(settings, torch.bfloat16)[0].loss == ""


@pytest.mark.parametrize("weights", ["bf16", "int8", "int4"])
def test_an_exact_reading_keeps_the_weights(weights: str) -> None:
    with pytest.raises(UsageError, match=f"keeps the model's own numbers; .* --weights {weights}"):
        rungs_of(ReadSettings(mode="exact", weights=weights))


def test_unknown_weights() -> None:
    with pytest.raises(UsageError, match="weights must be one of model, bf16, int8, int4, not 'int2'"):
        ReadSettings(weights="int2")


def test_the_plan_says_what_is_lost() -> None:
    settings = ReadSettings(weights="int8", kv_dtype="int4")
    plan = make_plan(
        CONFIG, settings, Need(500, 50, 64, False), shape_of("int8"), base_bytes=0, budget_bytes=1 << 30
    )
    assert plan.summary.loss == "weights rounded to 8 bits; keys and values rounded to 4 bits"
    assert plan.notes == (plan.summary.loss,)


def plan_of(budget_bytes: int, settings: ReadSettings) -> Plan:
    sizes = weights_bytes(CONFIG, torch.float32), torch.float32, layer_bytes(CONFIG, torch.float32)
    shape = ModelShape.from_config(CONFIG, *sizes)
    need = Need(100, 50, 64, False)
    return make_plan(CONFIG, settings, need, shape, base_bytes=1000, budget_bytes=budget_bytes)


@pytest.mark.parametrize("mode", ["auto", "exact"])
def test_layers_leave_the_device_where_the_weights_do_not_fit(mode: str) -> None:
    settings, layer = ReadSettings(mode=mode), layer_bytes(CONFIG, torch.float32)
    budget_bytes = plan_of(1 << 40, settings).rung.peak_bytes
    while not (plan := plan_of(budget_bytes, settings)).rung.offloaded_layers:
        budget_bytes -= layer // 4
    rung = plan.rung
    assert rung.name == "weights offloaded" and rung.loss == ""
    assert rung.peak_bytes <= budget_bytes < rung.peak_bytes + layer
    assert rung.offloaded_bytes == rung.offloaded_layers * layer
    resident_layers = CONFIG.num_hidden_layers - rung.offloaded_layers
    rest = weights_bytes(CONFIG, torch.float32) - CONFIG.num_hidden_layers * layer
    moving = (resident_layers + 1) * layer
    assert rung.peak_bytes == 1000 + rest + moving + rung.kv_bytes + rung.workspace_bytes
    assert "nothing is lost, but it is slow" in plan.notes[-1]


def test_rounded_weights_are_not_offloaded() -> None:
    shape = replace(shape_of("int8"), layer_bytes=layer_bytes(CONFIG, torch.float32))
    rungs = list(list_rungs(ReadSettings(weights="int8"), shape, 200, base_bytes=0, budget_bytes=300_000))
    assert rungs and not any(rung.offloaded_layers for rung in rungs)


def test_a_budget_without_room_for_one_layer_is_refused() -> None:
    with pytest.raises(DoesNotFitError, match="the budget is 0.00 GB"):
        plan_of(2000, ReadSettings())


@pytest.mark.model
def test_the_command(run_lcdoc, tmp_path) -> None:
    letter = "The library in Hanover closed in 1974 after a fire. Its books went to the town hall.\n"
    (tmp_path / "letter.txt").write_text(letter, encoding="utf-8")
    done = run_lcdoc(
        "ask", str(tmp_path / "letter.txt"), "When did the library close?", "--json", "--weights", "int8"
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert "1974" in answer["answer"]
    assert answer["receipt"]["exact"] is False
    assert "weights rounded to 8 bits" in answer["receipt"]["notes"]
    itemsize = {"float32": 4, "bfloat16": 2}[answer["model"]["dtype"]]
    assert answer["memory"]["weights_bytes"] < 134_515_008 * itemsize * 0.65
