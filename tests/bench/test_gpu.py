"""`lcdoc bench gpu`: its parts at tiny sizes on the processor; the whole on a GPU."""

import json
from pathlib import Path

import pytest
import torch

from lcdoc.bench import gpu_sample
from lcdoc.bench.gpu import GpuBench, GpuSizes
from lcdoc.bench.gpu_kernels import measure_copy, measure_prefill_kernels
from lcdoc.bench.gpu_model import DECODE_TOKENS, GpuModel
from lcdoc.bench.operations import Heads
from lcdoc.bench.schedule import Deadline, Item, run_items
from lcdoc.bench.subject import Subject
from lcdoc.config import ReadSettings
from lcdoc.engine.profiles import HeadProfile
from lcdoc.errors import DoesNotFitError, LcdocError, ModelError

CPU = torch.device("cpu")
TINY = Subject(shape="llama-tiny", device="cpu", dtype="float32")
KV_BYTES_A_TOKEN = 2 * 2 * 2 * 16 * 4  # layers, K and V, KV heads, head dim, float32


def gpu_model(deadline_s: float = 60, **settings) -> GpuModel:
    return GpuModel(TINY, ReadSettings(device="cpu", chunk_tokens=64, **settings), Deadline(deadline_s))


def test_items_are_done_cut_skipped_or_failed() -> None:
    def done(found) -> None:
        found["rate"] = 3

    def cut(found) -> None:
        found["tokens_read"] = 7
        Deadline(-1).check()

    def failed(found) -> None:
        raise LcdocError("no room")

    items = [
        Item("a", 1, 10, done),
        Item("b", 100, 10, done),
        Item("c", 1, 3_000_000_000, done),
        Item("d", 1, 10, cut),
        Item("e", 1, 10, failed),
    ]
    results = list(run_items(iter(items), Deadline(50), lambda: 2_000_000_000))
    assert [result["status"] for result in results] == ["done", "skipped", "skipped", "cut", "failed"]
    assert results[0]["rate"] == 3 and results[0]["reason"] is None
    assert results[1]["reason"].startswith("takes about 100 s, and ")
    assert results[2]["reason"] == "takes 3.0 GB, and 2.0 GB of the device are free"
    assert results[3]["tokens_read"] == 7 and results[3]["reason"] == "the deadline came"
    assert results[4]["reason"] == "LcdocError: no room"


def test_copy_and_kernels() -> None:
    found: dict = {}
    measure_copy(CPU, 1 << 20, found)
    assert found["bytes_per_s"] > 0
    found = {}
    measure_prefill_kernels(Heads(4, 2, 16, 64), 512, CPU, torch.float32, found)
    names = ["SDPA", "attend", "sink_window_prefill", "block_sparse_prefill"]
    assert list(found["flops_per_s"]) == names and found["to_dense"]["SDPA"] == 1


def test_a_text_is_read_until_the_deadline() -> None:
    found: dict = {}
    gpu_model().measure_prefill("exact", 200, found)
    assert found["tokens_read"] == 200 and found["kv_bytes"] == 200 * KV_BYTES_A_TOKEN
    cut: dict = {}
    with pytest.raises(LcdocError, match="the deadline came"):
        gpu_model(deadline_s=-1).measure_prefill("exact", 200, cut)
    assert cut["tokens_read"] == 64


@pytest.fixture
def profile(tmp_path: Path) -> str:
    """Of llama-tiny's heads, of which half are in want of the whole text."""
    path = tmp_path / "tiny.yaml"
    gates = ((0.1, 0.9), (0.8, 0.2))
    HeadProfile("llama-tiny", gates, sink_size=64, recent_size=64, source="made up").save(path)
    return str(path)


@pytest.mark.parametrize("mode", ["exact", "int4", "duo@50%"])
def test_answering_after_a_text_that_was_made_up(mode: str, profile: str) -> None:
    model, found = gpu_model(profile=profile), {}
    model.measure_decode(mode, 500, 1e9, found)
    held = 500 + 1 + 4 * DECODE_TOKENS
    if mode == "int4":
        assert found["kv_bytes"] < held * KV_BYTES_A_TOKEN / 2
    else:
        streaming = held if mode == "exact" else 128
        assert found["kv_bytes"] == (held + streaming) * KV_BYTES_A_TOKEN / 2
    weights = sum(weight.nbytes for weight in model.model.parameters())
    assert found["read_bytes"] == weights + found["kv_bytes"]  # the embeddings are the last layer's, too
    assert found["bound_s"] == found["read_bytes"] / 1e9 and found["graph"] == "none"


def test_reading_within_a_budget(profile: str) -> None:
    found: dict = {}
    lean = gpu_model(profile=profile).with_settings(
        mode="duo", streaming="75%", kv_dtype="int4", weights="int4"
    )
    lean.measure_budget(300, "1GB", found)
    assert "3 of 4 heads" in found["loss"] and found["kv_bytes"] < 300 * KV_BYTES_A_TOKEN
    assert found["tokens_read"] == 300
    assert 0 < found["predicted_peak_bytes"] <= found["budget_bytes"] == 1_000_000_000
    assert found["peak_bytes"] > 0
    with pytest.raises(DoesNotFitError, match="no way to read 300 tokens fits 1KB"):
        gpu_model().measure_budget(300, "1KB", {})


def test_chunks_of_a_long_reading_tell_the_whole(profile: str) -> None:
    model, dense, sparse = gpu_model(profile=profile), {}, {}
    model.measure_sample("exact", 1000, 1, dense)
    assert dense["past_tokens"] == [0, 256, 512, 704, 960] and dense["chunk_tokens"] == 64
    assert (dense["layers_run"], dense["layers"], dense["density"]) == (1, 2, 1)
    first, *between, last = dense["chunk_s"]
    assert dense["extrapolated_s"] <= 2 * 16 * max(dense["chunk_s"]) and len(between) == 3
    assert dense["extrapolated_s"] >= 2 * 16 * min(dense["chunk_s"])
    assert dense["extrapolation"].startswith("5 chunks of 1 of 2 layers were run, after keys")
    assert len(model.model.model.layers) == model.model.config.num_hidden_layers == 2, "put back"
    model.measure_sample("duo@50%+sparse", 1000, None, sparse)
    assert sparse["layers_run"] == sparse["layers"] == 2 and 0.2 < sparse["density"] < 0.95
    assert sparse["kv_bytes"] < 0.7 * 960 * KV_BYTES_A_TOKEN
    cut: dict = {}
    with pytest.raises(LcdocError, match="the deadline came"):
        gpu_model(deadline_s=-1).measure_sample("exact", 1000, 1, cut)
    assert cut["past_tokens"] == [0] and "extrapolated_s" not in cut


def test_a_line_between_chunks_is_summed_up(monkeypatch: pytest.MonkeyPatch, profile: str) -> None:
    """Chunks that take 1 s and 0.01 s for each token before them, 16 of 64 tokens: 16 + 0.64 * 120 s, twice."""
    seen: list[int] = []
    model, found = gpu_model(profile=profile), {}
    plain_fill = gpu_sample.fill

    def watched_fill(reader, num_tokens: int) -> None:
        plain_fill(reader, num_tokens)
        seen.append(reader.seen_tokens // 64 * 64)

    monkeypatch.setattr(gpu_sample, "fill", watched_fill)
    monkeypatch.setattr(gpu_sample, "take_turns", lambda *args: {"": [1 + 0.01 * seen[-1]]})
    model.measure_sample("exact", 1024, 1, found)
    assert found["extrapolated_s"] == pytest.approx(2 * (16 + 0.64 * 120))


def test_the_last_of_a_long_text_is_read_within_a_budget(profile: str) -> None:
    found: dict = {}
    lean = gpu_model(profile=profile).with_settings(
        mode="duo", streaming="75%", kv_dtype="int4", weights="int4"
    )
    lean.measure_budget(2000, "1GB", found, last_tokens=128)
    assert (found["made_up_tokens"], found["tokens_read"]) == (1872, 128)
    whole: dict = {}
    lean.measure_budget(2000, "1GB", whole)
    assert (
        found["kv_bytes"] == whole["kv_bytes"]
        and found["predicted_peak_bytes"] == whole["predicted_peak_bytes"]
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_a_gpu_it_is_one_line(call_lcdoc) -> None:
    for words in ((), ("--device", "cpu")):
        done = call_lcdoc("bench", "gpu", *words)
        assert done.returncode == 1
        assert done.stderr.startswith("lcdoc: bench gpu needs a CUDA device") and done.stderr.count("\n") == 1
    with pytest.raises(ModelError, match="lcdoc bench kernels runs without"):
        GpuBench("llama-tiny", 10, "cpu", "float32")


@pytest.mark.gpu
def test_the_whole_at_tiny_sizes(call_lcdoc, tmp_path: Path) -> None:
    sizes = GpuSizes((512,), (512,), (512,), 1024, "2GB", 1 << 20, 128, 1024, 2048, "2GB")
    bench = GpuBench("smollm2-2-layers", 120, "cuda", "bfloat16", sizes)
    statuses = {result["item"]: (result["status"], result["reason"]) for result in bench.run()}
    without_profile = {name: status for name, status in statuses.items() if "duo" not in name}
    assert set(list(without_profile.values())[:-1]) == {("done", None)}, statuses
    report = json.loads(json.dumps(bench.report(), allow_nan=False))
    assert report["complete"] is True and len(report["results"]) == len(statuses)
