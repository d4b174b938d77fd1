"""Which heads stream: by the budget, by the gates, or by the share that was asked for."""

import json
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lcdoc.config import ReadSettings
from lcdoc.engine.budget import Rung
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import HeadProfile, load_profile, shipped_profiles
from lcdoc.errors import UsageError
from lcdoc.tasks.plan import list_rungs

Run = Callable[..., "subprocess.CompletedProcess[str]"]
LLAMA_3_8B = Path(__file__).parents[1] / "data" / "configs" / "llama-3-8b.json"
PROFILE = "llama-3-8b-instruct-gradient-1048k"
# Of models of 32 layers; those of two smaller ones have shapes of their own.
LARGE = [name for name in shipped_profiles() if not name.startswith(("smollm2", "qwen2.5"))]
GQA = [name for name in LARGE if not name.startswith("llama-2")]
SHAPE = ModelShape(
    num_heads=32,
    num_kv_heads=8,
    head_dim=128,
    hidden_size=4096,
    intermediate_size=14_336,
    vocab_size=128_256,
    windows=(None,) * 32,
    weights_bytes=16_000_000_000,
    dtype=torch.bfloat16,
)


def rungs(shape: ModelShape = SHAPE, tokens: int = 131_072, **settings: object) -> list[Rung]:
    return list(list_rungs(ReadSettings(**settings), shape, tokens, base_bytes=0))


def lowest(profile: HeadProfile, split: HeadSplit) -> bool:
    """Whether no head that keeps everything has a lower gate than one that streams."""
    streaming = [profile.gates[layer][head] for layer, heads in enumerate(split.streaming) for head in heads]
    keeping = [
        gate
        for layer, row in enumerate(profile.gates)
        for head, gate in enumerate(row)
        if head not in split.streaming[layer]
    ]
    return max(streaming, default=0.0) <= min(keeping, default=1.0)


@pytest.mark.parametrize("name", GQA)
def test_a_budget_that_needs_a_few_heads_takes_exactly_the_lowest(name: str) -> None:
    profile = load_profile(name)
    ways = rungs(profile=name)
    exact = next(rung for rung in reversed(ways) if not rung.loss)
    head_bytes = 2 * 128 * 2 * 131_072
    budget_bytes = exact.peak_bytes - 9 * head_bytes // 2  # a streaming head needs a little as well
    [chosen, *_] = [rung for rung in ways if rung.peak_bytes <= budget_bytes]
    assert chosen.split.num_streaming_heads == 5 and chosen.name == "5 streaming heads"
    assert lowest(profile, chosen.split)
    assert all(
        profile.gates[layer][head] < 0.1 for layer, row in enumerate(chosen.split.streaming) for head in row
    )


@pytest.mark.parametrize("name", LARGE)
def test_duo_streams_the_gates_below_a_half(name: str) -> None:
    profile = load_profile(name)
    shape = replace(SHAPE, num_kv_heads=len(profile.gates[0]))
    split = rungs(shape, mode="duo", profile=name)[0].split
    for layer, row in enumerate(profile.gates):
        assert split.streaming[layer] == {head for head, gate in enumerate(row) if gate < 0.5}


@pytest.mark.parametrize(("share", "count"), [("0%", 0), ("75%", 192), ("33.3%", 85), ("100%", 256)])
def test_a_share_streams_lowest_gates_first_whatever_they_are(share: str, count: int) -> None:
    rung = rungs(mode="duo", profile=PROFILE, streaming=share)[0]
    assert rung.split.num_streaming_heads == count
    assert lowest(load_profile(PROFILE), rung.split)
    said = f"{count} of 256 heads ({count / 256:.0%}) see only the first and last tokens" if count else ""
    assert rung.loss == said


def test_a_share_is_of_the_heads_without_a_window_of_their_own(tmp_path: Path) -> None:
    gates = ((0.0, 0.1), (0.9, 0.8), (0.2, 0.3), (0.6, 0.7))
    HeadProfile("mixed", gates, 4, 32, "test").save(tmp_path / "p.yaml")
    shape = replace(
        SHAPE, num_heads=4, num_kv_heads=2, windows=(64, None, 64, None), weights_bytes=0, head_dim=16
    )
    own = {"profile": str(tmp_path / "p.yaml")}
    half = rungs(shape, 1000, mode="duo", streaming="50%", **own)[0]
    assert half.split.streaming == (frozenset(), frozenset(), frozenset(), frozenset({0, 1}))
    assert half.loss == "2 of 4 heads (50%) see only the first and last tokens"
    # Nothing is won, or lost, where a layer has its window already.
    assert rungs(shape, 1000, mode="duo", **own)[0].split.num_streaming_heads == 0
    stream = rungs(shape, 1000, mode="stream")[0]
    assert stream.loss.startswith("4 of 4 heads (100%)")
    gates = ((0.0, 0.1), (0.9, 0.3), (0.2, 0.3), (0.4, 0.7))
    HeadProfile("mixed", gates, 4, 32, "test").save(tmp_path / "p.yaml")
    ladder = [rung for rung in rungs(shape, 1000, **own) if "streaming" in rung.name]
    assert [rung.split.num_streaming_heads for rung in ladder] == [1, 2]
    assert len({rung.kv_bytes for rung in ladder}) == 2


@pytest.mark.parametrize("mode", ["auto", "exact", "stream"])
def test_a_share_belongs_to_duo(mode: str) -> None:
    with pytest.raises(UsageError, match=f"--streaming 75% belongs to --mode duo, not {mode}"):
        rungs(mode=mode, streaming="75%")


def test_a_share_needs_a_profile() -> None:
    with pytest.raises(UsageError, match="--mode duo needs a head profile"):
        rungs(mode="duo", streaming="75%")


@pytest.mark.parametrize("value", ["75", "101%", "-1%", "half", "", "%", "nan%"])
def test_what_is_no_share(value: str) -> None:
    with pytest.raises(UsageError, match=re.escape(f"such as 75%, not {value!r}")):
        ReadSettings(streaming=value)


def test_plan_and_its_refusals_from_the_command(run_lcdoc: Run) -> None:
    words = ("plan", "--model-config", LLAMA_3_8B, "--tokens", "100k", "--device", "cuda", "--budget", "40GB")
    done = run_lcdoc(*words, "--mode", "duo", "--profile", PROFILE, "--streaming", "75%", "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    [chosen] = [way for way in plan["ways"] if way["chosen"]]
    assert chosen["num_streaming_heads"] == 192 and "192 of 256 heads (75%)" in chosen["loss"]
    head = 2 * 128 * 2
    assert chosen["kv_bytes"] == head * (64 * plan["tokens"]["capacity"] + 192 * (128 + 256))
    assert "--mode exact" in plan["exact"]["text"]
    wrong = run_lcdoc(*words, "--streaming", "75%")
    assert wrong.returncode == 2 and "--streaming 75% belongs to --mode duo, not auto" in wrong.stderr
    assert wrong.stderr.count("\n") == 1
