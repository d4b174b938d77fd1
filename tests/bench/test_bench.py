"""Speed and memory beside stock: what is measured, in which order, and the arithmetic of ratios."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from lcdoc.bench import speed
from lcdoc.bench.comparison import Comparison
from lcdoc.bench.curves import draw_curves
from lcdoc.bench.peak import measure_apart
from lcdoc.bench.run import Bench
from lcdoc.bench.subject import SHAPES, Subject
from lcdoc.bench.text_ids import TextIds
from lcdoc.bench.turns import Turns
from lcdoc.config import ReadSettings
from lcdoc.errors import LcdocError, ModelError, UsageError
from lcdoc.models import DEFAULT_MODEL

TINY = Subject(shape="llama-tiny", dtype="float32")
SETTINGS = ReadSettings(chunk_tokens=64, sink_size=4, recent_size=32)
SMALL = Turns(lengths=(100, 200), modes=("exact", "stream"), repeats=2)
KV_BYTES_A_TOKEN = 2 * 2 * 2 * 16 * 4  # layers, K and V, KV heads, head dim, float32


def test_ratios_are_of_the_same_repeat_and_their_median_counts() -> None:
    comparison = Comparison(100, {"stock": [2.0, 40.0, 3.0], "exact": [1.0, 10.0, 6.0]})
    assert comparison.ratios("exact") == [2.0, 4.0, 0.5]
    assert comparison.ratio("exact") == 2.0
    assert comparison.ratio("stock") == 1.0
    assert comparison.to_json("s")["modes"]["exact"] == {
        "samples_s": [1.0, 10.0, 6.0],
        "median_s": 6.0,
        "min_s": 1.0,
        "max_s": 10.0,
        "stock_to_mode": 2.0,
        "stock_to_mode_samples": [2.0, 4.0, 0.5],
    }


def test_the_rate_of_a_length_beside_another_is_that_of_the_same_repeat() -> None:
    short = Comparison(100, {"stock": [1.0, 2.0, 1.0]})
    long = Comparison(400, {"stock": [8.0, 8.0]})
    assert long.rates("stock", short) == [0.5, 1.0]
    assert short.rates("stock", short) == [1.0, 1.0, 1.0]


def test_turns_alternate_and_stock_is_always_there_once() -> None:
    assert SMALL.order(SMALL.contestants, 0) == ("stock", "exact", "stream")
    assert SMALL.order(SMALL.contestants, 1) == ("stream", "exact", "stock")
    assert Turns(modes=("stock", "exact")).contestants == ("stock", "exact")


class Clock:
    """Time that passes only while somebody reads: a token of stock takes 3 s, one of any other 1 s."""

    def __init__(self) -> None:
        self.now, self.turns, self.read = 0.0, [], []

    def perf_counter(self) -> float:
        return self.now


class TimedReader:
    def __init__(self, clock: Clock, mode: str) -> None:
        self.clock, self.mode, self.cache = clock, mode, SimpleNamespace(nbytes=0)

    def prefill(self, ids, on_chunk=None) -> None:
        self.clock.now += len(ids) * (3 if self.mode == "stock" else 1)
        self.clock.turns.append(self.mode)
        self.clock.read.append(list(ids))

    read = prefill

    def decode(self, pick, stop_ids, max_new_tokens):
        self.clock.turns.append(self.mode)
        for token_id in range(max_new_tokens):
            yield token_id
            self.clock.now += 3 if self.mode == "stock" else 1


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(speed, "time", clock)
    monkeypatch.setattr(speed, "open_reader", lambda model, mode, *rest: TimedReader(clock, mode))
    monkeypatch.setattr(speed, "switch", lambda model, mode: None)
    monkeypatch.setattr(speed, "random_ids", lambda model, length: [0] * length)
    return clock


MODEL = SimpleNamespace(device=SimpleNamespace(type="cpu"))


def test_prefill_seconds_are_those_of_the_reading(clock: Clock) -> None:
    first, comparison = speed.compare_prefill(MODEL, SETTINGS, replace(SMALL, lengths=(100,)))
    assert first.samples == {"stock": [300], "exact": [100], "stream": [100]}
    assert comparison.samples == {"stock": [300, 300], "exact": [100, 100], "stream": [100, 100]}
    assert comparison.ratio("exact") == 3
    assert clock.turns[3:] == ["stock", "exact", "stream", "stream", "exact", "stock"]


def test_lengths_take_turns_in_prefill(clock: Clock) -> None:
    turns = [one.length_tokens for one in speed.compare_prefill(MODEL, SETTINGS, SMALL)]
    assert turns == [100, 200, 200, 100]
    assert [len(ids) for ids in clock.read[3:]] == [100] * 3 + [200] * 6 + [100] * 3


def test_decode_seconds_are_per_token(clock: Clock) -> None:
    _, comparison = speed.compare_decode(MODEL, SETTINGS, replace(SMALL, lengths=(100,)))
    assert comparison.samples == {"stock": [3, 3], "exact": [1, 1], "stream": [1, 1]}
    assert clock.turns[6:] == ["stock", "exact", "stream", "stream", "exact", "stock"]


@pytest.mark.parametrize(("what", "weights"), [("prefill", "model"), ("decode", "model"), ("decode", "int4")])
def test_a_bench_of_a_real_reading(what: str, weights: str) -> None:
    bench = Bench(what, TINY, replace(SETTINGS, weights=weights), SMALL)
    turns = bench.run()
    next(turns)
    assert bench.report()["complete"] is False and len(bench.report()["results"]) == 1
    assert len(list(turns)) == 3
    report = json.loads(json.dumps(bench.report(), allow_nan=False))
    assert report["suite"] == f"bench {what}" and report["complete"] is True
    assert report["model"] == {"name": "random weights, llama-tiny", "dtype": "float32"}
    assert [result["length_tokens"] for result in report["results"]] == [100, 200]
    for comparison, result in zip(bench.comparisons, report["results"], strict=True):
        for mode in ("stock", "exact", "stream"):
            samples = result["modes"][mode]["samples_s"]
            assert len(samples) == 2 and all(sample > 0 for sample in samples)
            assert result["modes"][mode]["stock_to_mode"] == comparison.ratio(mode)
    if what == "prefill":
        short, long = (result["modes"]["exact"]["samples_s"] for result in report["results"])
        rates = [2 * one / other for one, other in zip(short, long, strict=True)]
        assert report["rates_to_shortest"]["exact"] == {"200": pytest.approx(rates)}


@pytest.mark.parametrize("compare", [speed.compare_prefill, speed.compare_decode])
def test_every_mode_reads_the_first_tokens_of_a_text(
    clock: Clock, byte_model: Path, tmp_path: Path, compare
) -> None:
    (tmp_path / "text.txt").write_text("abcdefghij" * 30)
    ids_of = TextIds(str(tmp_path / "text.txt"), Subject(str(byte_model)), 200)
    list(compare(MODEL, SETTINGS, SMALL, ids_of=ids_of))
    read = [ids for ids in clock.read if len(ids) in SMALL.lengths]
    assert {len(ids) for ids in read} == set(SMALL.lengths) and len(read) >= 6
    assert all(ids == read[0][:10] * (len(ids) // 10) for ids in read) and len(set(read[0])) == 10


def test_a_text_that_a_bench_cannot_read(byte_model: Path, tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_text("word " * 30)
    with pytest.raises(UsageError, match=r"has 15\d tokens, fewer than the 200 of --lengths"):
        Bench("prefill", Subject(str(byte_model)), SETTINGS, SMALL, str(path))
    with pytest.raises(UsageError, match="random weights have no tokenizer"):
        Bench("prefill", TINY, SETTINGS, SMALL, str(path))
    with pytest.raises(UsageError, match="does not depend on what is read"):
        Bench("memory", Subject(str(byte_model)), SETTINGS, SMALL, str(path))
    told = Bench("prefill", Subject(str(byte_model)), SETTINGS, replace(SMALL, lengths=(150,)), str(path))
    assert told.report()["settings"]["text"]["file"] == "text.txt"


def test_a_model_is_measured_with_its_own_profile() -> None:
    turns = Turns((128,), ("duo@50%",), 1)
    own = Bench("memory", Subject(DEFAULT_MODEL.name), ReadSettings(), turns).report()["settings"]
    other = Bench("memory", Subject(shape="llama-tiny"), ReadSettings(), turns).report()["settings"]
    assert own["profile"] == DEFAULT_MODEL.name and own["profile_sha256"]
    assert other["profile"] is None and other["profile_sha256"] is None


def test_every_reader_reads_what_it_is_given_and_holds_what_its_mode_keeps() -> None:
    model = TINY.load()
    held = {}
    for mode in ("stock", "exact", "stream"):
        reader = speed.open_reader(model, mode, SETTINGS, 200)
        reader.prefill(speed.random_ids(model, 200))
        held[mode] = reader.cache.nbytes
    assert held["stock"] == held["exact"] == 200 * KV_BYTES_A_TOKEN
    assert held["stream"] == 36 * KV_BYTES_A_TOKEN


def test_memory_is_measured_in_another_process() -> None:
    kept = bytearray(1 << 30)  # in this process, where it must not count
    kept[:: 1 << 12] = b"x" * (1 << 18)
    peak = measure_apart(TINY, SETTINGS, "exact", 200)
    assert peak.kv_bytes == (200 + speed.DECODE_TOKENS) * KV_BYTES_A_TOKEN
    assert peak.weights_bytes < peak.loaded_bytes <= peak.load_peak_bytes <= peak.peak_bytes < len(kept)


def test_the_memory_of_reading_is_seen_in_every_mode() -> None:
    bench = Bench("memory", TINY, SETTINGS, Turns(lengths=(4096,), modes=("exact",), repeats=1))
    [comparison] = bench.run()
    [result] = json.loads(json.dumps(bench.report()))["results"]
    for mode in ("stock", "exact"):
        last = result["last"][mode]
        assert last["kv_bytes"] == (4096 + speed.DECODE_TOKENS) * KV_BYTES_A_TOKEN
        assert last["peak_bytes"] - last["loaded_bytes"] > last["kv_bytes"]
        assert result["modes"][mode]["samples_bytes"] == [last["peak_bytes"]]
    assert comparison.ratio("exact") == comparison.samples["stock"][0] / comparison.samples["exact"][0]


def test_a_failure_in_the_other_process_is_one_line(tmp_path: Path) -> None:
    subject = Subject(model=str(tmp_path))
    with pytest.raises(
        LcdocError, match="reading 10 tokens in mode exact failed: .*no config.json"
    ) as caught:
        measure_apart(subject, SETTINGS, "exact", 10)
    assert "\n" not in str(caught.value)


def test_a_model_can_be_made_from_a_config_file(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"model_type": "qwen2", **SHAPES["llama-tiny"]}), encoding="utf-8")
    model = Subject(model_config=str(path), dtype="bfloat16").load()
    assert model.config.model_type == "qwen2" and str(model.dtype) == "torch.bfloat16"
    assert model.config.num_hidden_layers == 2 and not model.training


def test_shapes_are_those_of_the_models_they_name() -> None:
    model = Subject(shape="smollm2-135m", dtype="float32").load()
    assert sum(weight.numel() for weight in model.parameters()) == 134_515_008


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "can't be read as a config.json"),
        ("{}", "names no model_type"),
        ("[]", "names no model_type"),
    ],
)
def test_a_broken_config_file_is_one_line(content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match=message):
        Subject(model_config=str(path)).load()


def test_a_config_of_no_known_model_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text('{"model_type": "nothing-known"}', encoding="utf-8")
    with pytest.raises(ModelError, match="no model can be made of it"):
        Subject(model_config=str(path)).load()


def test_wrong_choices_are_refused() -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        Subject(model="a", shape="llama-tiny")
    with pytest.raises(
        UsageError,
        match="shape must be one of llama-tiny, smollm2-135m, smollm2-2-layers, llama-3-8b, not 'x'",
    ):
        Subject(shape="x")
    with pytest.raises(UsageError, match="repeats must be 1 or more, not 0"):
        Turns(repeats=0)
    with pytest.raises(UsageError, match="lengths must be 1 or more, not -5"):
        Turns(lengths=(100, -5))


def test_the_command_from_end_to_end(run_lcdoc, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("bench", "prefill", "--shape", "llama-tiny", "--lengths", "64,128", "--repeats", "1"),
        *("--modes", "exact", "--json", tmp_path / "bench.json"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "bench.json").read_text(encoding="utf-8"))
    assert [row["length_tokens"] for row in report["results"]] == [64, 128] and report["complete"]
    rows = [line.split() for line in result.stdout.splitlines() if line.rstrip().endswith("%")]
    assert [row[:2] for row in rows] == [["64", "stock"], ["64", "exact"], ["128", "stock"], ["128", "exact"]]
    assert [row[-1] for row in rows[:2]] == ["100%", "100%"]
    assert "128 tokens, turn 1: stock " in result.stderr


def test_what_was_measured_is_drawn_against_length(run_lcdoc, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("bench", "decode", "--shape", "llama-tiny", "--lengths", "64,128", "--repeats", "1"),
        *("--modes", "exact", "--plot", "decode.png", "--json", "decode.json"),
    )
    assert result.returncode == 0, result.stderr
    assert "picture written to decode.png" in result.stderr
    report = json.loads((tmp_path / "decode.json").read_text(encoding="utf-8"))
    draw_curves("decode", report, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "decode.png").read_bytes()
    for one in report["results"][1]["modes"].values():
        one["median_s"] *= 2
    draw_curves("decode", report, tmp_path / "slower.png")
    assert (tmp_path / "slower.png").read_bytes() != (tmp_path / "decode.png").read_bytes()


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_measured(run_lcdoc) -> None:
    result = run_lcdoc("bench", "prefill", "--shape", "llama-tiny", "--plot", "bench.svg")
    assert result.returncode == 2 and result.stdout == ""
    assert "name a file that ends in .png" in result.stderr and "tokens" not in result.stderr


def test_the_command_refuses_what_it_does_not_measure(run_lcdoc) -> None:
    result = run_lcdoc("bench", "speed")
    assert result.returncode == 2
    assert "No such command 'speed'" in result.stderr
