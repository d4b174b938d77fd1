"""`lcdoc ask --sparse-prefill on`: what is told of what was left out, and where it can't be."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.engine.profiles import HeadProfile

Run = Callable[..., subprocess.CompletedProcess[str]]


def test_the_receipt_says_how_much_was_attended_to(
    lcdoc: Run, work: Path, parrot: str, known_speeds: Path, json_schema: Callable
) -> None:
    (work / "story.txt").write_text("Some words of a story.\n" * 160, encoding="utf-8")
    common = ("--model", parrot, "--dtype", "float32", "--chunk-tokens", "600", "--store", "off", "--json")
    plain, sparse = (
        json.loads(lcdoc("ask", "story.txt", "What?", *common, "--sparse-prefill", choice).stdout)
        for choice in ("off", "on")
    )
    json_schema("answer").validate(sparse)
    assert plain["receipt"]["prefill_density"] == 1 and plain["receipt"]["exact"]
    density = sparse["receipt"]["prefill_density"]
    assert 0 < density < 1 and not sparse["receipt"]["exact"]
    said = f"heads that keep everything attended to {density:.0%} of the text before each chunk"
    assert said in sparse["receipt"]["notes"]
    assert "hardly matter are left out" in sparse["plan"]["loss"]
    assert sparse["answer"] == plain["answer"]


def test_it_goes_with_streaming_heads_rounding_and_pages(
    lcdoc: Run, work: Path, write_tiny_model: Callable[..., Path], known_speeds: Path
) -> None:
    model = write_tiny_model("joined", vocab_size=500, num_layers=4, window=8192, spread=0.3)
    gates = ((0.9, 0.1),) * 4
    HeadProfile("joined", gates, sink_size=64, recent_size=64, source="made up").save(work / "gates.yaml")
    (work / "story.txt").write_text("Some words of a story that goes on.\n" * 360, encoding="utf-8")
    common = (
        "--model",
        str(model),
        "--chunk-tokens",
        "512",
        "--seed",
        "3",
        "--max-new-tokens",
        "8",
        "--json",
    )
    heads = ("--mode", "duo", "--streaming", "50%", "--profile", "gates.yaml", "--store", "off")
    plain, whole = (
        lcdoc("ask", "story.txt", "What?", *common, *heads, "--kv-dtype", "int8", *more)
        for more in ((), ("--sparse-prefill", "on", "--page-selection", "on"))
    )
    assert plain.returncode == whole.returncode == 0, plain.stderr + whole.stderr
    plain, whole = (json.loads(done.stdout) for done in (plain, whole))
    for receipt in (plain["receipt"], whole["receipt"]):
        assert receipt["kv_dtype"] == "int8" and 0 < receipt["kv_share_kept"]["streaming"] < 0.2
        assert receipt["kv_share_kept"]["retrieval"] == 1 and not receipt["exact"]
    assert plain["receipt"]["prefill_density"] == plain["receipt"]["decode_density"] == 1
    assert 0 < whole["receipt"]["prefill_density"] < 1 and 0 < whole["receipt"]["decode_density"] < 1
    for said in ("4 of 8 heads", "while it is read", "while an answer is written", "rounded to 8 bits"):
        assert said in whole["plan"]["loss"]


@pytest.mark.parametrize(
    "other",
    [("--mode", "exact"), ("--mode", "stream"), ("--evict", "h2o", "--keep", "25%")],
    ids=" ".join,
)
def test_it_is_refused_where_no_head_reads_so(lcdoc: Run, work: Path, parrot: str, other: tuple) -> None:
    (work / "story.txt").write_text("Some words of a story.\n", encoding="utf-8")
    done = lcdoc("ask", "story.txt", "What?", "--model", parrot, "--sparse-prefill", "on", *other)
    assert done.returncode == 2
    assert f"can't go with {other[0]}" in done.stderr
