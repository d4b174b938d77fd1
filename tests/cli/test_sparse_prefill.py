"""`lcdoc ask --sparse-prefill on`: what is told of what was left out, and where it can't be."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

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


@pytest.mark.parametrize(
    "other",
    [("--mode", "exact"), ("--mode", "stream"), ("--kv-dtype", "int8"), ("--evict", "h2o", "--keep", "25%")],
    ids=" ".join,
)
def test_it_is_refused_where_no_head_reads_so(lcdoc: Run, work: Path, parrot: str, other: tuple) -> None:
    (work / "story.txt").write_text("Some words of a story.\n", encoding="utf-8")
    done = lcdoc("ask", "story.txt", "What?", "--model", parrot, "--sparse-prefill", "on", *other)
    assert done.returncode == 2
    assert f"can't go with {other[0]}" in done.stderr
