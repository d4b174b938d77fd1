"""`lcdoc bench kernels`: the work counted, and the command from end to end."""

import json
from pathlib import Path

import pytest
import torch

from lcdoc.bench.kernels import KernelTimes
from lcdoc.bench.operations import SINK_TOKENS, WINDOW_TOKENS, Heads, Operations
from lcdoc.bench.timing import take_turns

HEADS = Heads(num_heads=4, num_kv_heads=2, head_dim=16, chunk_tokens=128)
NAMES = [
    "attend",
    "sink_window_prefill",
    "block_score",
    "block_sparse_prefill",
    *(f"paged_decode {stored}" for stored in ("bf16", "int8", "int4")),
    *(f"append_quantize {stored}" for stored in ("int8", "int4")),
    "compact",
]


@torch.inference_mode()
def test_the_work_is_counted_and_both_ways_end_alike() -> None:
    made = Operations(HEADS, 640, torch.device("cpu"), torch.float32)
    operations = {operation.name: operation for operation in made.all()}
    assert list(operations) == NAMES
    pair_flops = 4 * 4 * 16  # a score and a weighted value, 4 query heads
    assert operations["attend"].work == pair_flops * 128 * 640
    assert operations["sink_window_prefill"].work == pair_flops * 128 * (SINK_TOKENS + WINDOW_TOKENS)
    sparse = operations["block_sparse_prefill"]
    assert 0.1 < sparse.work / sparse.reference_work < 0.6
    plain = 2 * 640 * 2 * 16  # numbers of keys and values
    stored = [operations[f"paged_decode {bits}"].work for bits in ("bf16", "int8", "int4")]
    scales = 2 * 2 * (10 * 2 * 16 + 640 * 2)  # scale and least, float16: of channels, and of tokens
    assert stored == [2 * plain, plain + scales, plain / 2 + scales]
    assert operations["compact"].work == 2 * 320 * 2 * 16 * 4
    for name in ("attend", "sink_window_prefill"):
        own, reference = operations[name].run()[0], operations[name].run_reference()
        torch.testing.assert_close(own, reference, atol=1e-5, rtol=1e-5)


def test_turns_are_samples_of_one_run() -> None:
    counts = {"a": 0, "b": 0}

    def count(name: str) -> None:
        counts[name] += 1

    samples = take_turns(torch.device("cpu"), {name: lambda name=name: count(name) for name in counts}, 3)
    assert all(len(of) == 3 and min(of) > 0 for of in samples.values())
    assert min(counts.values()) > 3  # such short ones are repeated within a sample


def test_rates_follow_from_work_and_medians() -> None:
    times = KernelTimes(100, "x", "B", 600.0, "PyTorch", 1200.0, [1.0, 2.0, 6.0], [2.0, 8.0, 6.0])
    assert (times.rate_per_s, times.reference_rate_per_s, times.reference_to_own) == (300, 200, 2)


def test_the_command_from_end_to_end(call_lcdoc, tmp_path: Path) -> None:
    path = tmp_path / "kernels.json"
    done = call_lcdoc(
        *("bench", "kernels", "--shape", "llama-tiny", "--lengths", "128", "--repeats", "2"),
        *("--chunk-tokens", "64", "--dtype", "float32", "--device", "cpu", "--json", path),
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(path.read_text(encoding="utf-8"))
    assert report["suite"] == "bench kernels" and report["complete"] is True
    assert [result["operation"] for result in report["results"]] == NAMES
    for result in report["results"]:
        assert len(result["samples_s"]) == 2 and result["min_s"] <= result["median_s"] <= result["max_s"]
        assert result["rate_per_s"] == result["work"] / result["median_s"]
        assert result["operation"] in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--lengths", "10"), "lengths must be 64 or more, not 10"),
        (("--repeats", "0"), "repeats must be 1 or more, not 0"),
        (("--shape", "gpt"), "shape must be one of llama-tiny"),
    ],
)
def test_wrong_choices_are_refused(call_lcdoc, words: tuple[str, ...], said: str) -> None:
    done = call_lcdoc("bench", "kernels", "--device", "cpu", *words)
    assert done.returncode == 2 and said in done.stderr
