"""`lcdoc ask --page-selection`: what is told of what was left out, and where it can't be."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]

# More pages than are attended to, with an answer and a question around them.
WORDS = "Some words of a story that goes on.\n" * 360


@pytest.fixture(scope="module")
def model(write_tiny_model: Callable[..., Path]) -> str:
    """Deep enough that there are layers that select."""
    return str(write_tiny_model("joined", vocab_size=500, num_layers=4, window=8192, spread=0.3))


def asked(lcdoc: Run, model: str, *options: str) -> dict:
    common = ("--model", model, "--max-new-tokens", "12", "--seed", "3", "--json")
    done = lcdoc("ask", "story.txt", "What?", *common, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_receipt_says_how_much_was_attended_to(
    lcdoc: Run, work: Path, model: str, json_schema: Callable
) -> None:
    (work / "story.txt").write_text(WORDS, encoding="utf-8")
    plain, paged = (
        asked(lcdoc, model, "--page-selection", choice, "--store", "off") for choice in ("off", "on")
    )
    json_schema("answer").validate(paged)
    assert plain["receipt"]["decode_density"] == 1 and plain["receipt"]["exact"]
    density = paged["receipt"]["decode_density"]
    assert 0.4 < density < 0.9 and not paged["receipt"]["exact"]
    said = (
        f"while answering, heads that keep everything attended to {density:.0%} of the text, chosen by pages"
    )
    assert said in paged["receipt"]["notes"]
    assert "left out while an answer is written" in paged["plan"]["loss"] and not plain["plan"]["loss"]
    assert paged["receipt"]["tokens_read"] == plain["receipt"]["tokens_read"]
    assert paged["receipt"]["kv_share_kept"] == {"retrieval": 1.0}, "nothing is dropped"
    assert paged["memory"]["kv_bytes"] > plain["memory"]["kv_bytes"], "bounds and copies are counted"


def test_pages_and_rounding_and_the_store_go_together(lcdoc: Run, work: Path, model: str) -> None:
    """What is stored is the same reading as without pages, and either takes it from the other."""
    (work / "story.txt").write_text(WORDS, encoding="utf-8")
    rounded = ("--kv-dtype", "int8", "--chunk-tokens", "512")
    first = asked(lcdoc, model, *rounded)
    again = asked(lcdoc, model, *rounded, "--page-selection", "on")
    assert again["receipt"]["tokens_from_store"] > 0.8 * again["receipt"]["tokens_read"]
    assert again["receipt"]["decode_density"] < 0.9 and first["receipt"]["decode_density"] == 1
    (work / "lcdoc.yaml").write_text("page_selection: on\n", encoding="utf-8")
    fresh = asked(lcdoc, model, *rounded, "--store", "off")
    assert fresh["answer"] == again["answer"]


def test_where_it_does_not_pay_nothing_is_left_out(
    lcdoc: Run, work: Path, model: str, known_speeds: Path
) -> None:
    """auto: from as many tokens on as were measured on this machine."""
    (work / "story.txt").write_text(WORDS, encoding="utf-8")
    densities = {}
    for from_tokens in (64, 100_000):
        for file in known_speeds.glob("*.json"):
            content = json.loads(file.read_text(encoding="utf-8"))
            content["rates"]["pages_from_tokens"] = from_tokens
            file.write_text(json.dumps(content), encoding="utf-8")
        receipt = asked(lcdoc, model, "--page-selection", "auto", "--store", "off")["receipt"]
        assert receipt["exact"] == (receipt["decode_density"] == 1)
        densities[from_tokens] = receipt["decode_density"]
    assert densities[64] < 0.9 and densities[100_000] == 1


@pytest.mark.parametrize(
    "other",
    [("--mode", "exact"), ("--mode", "stream"), ("--extend", "self-extend"), ("--evict", "h2o")],
    ids=" ".join,
)
def test_it_is_refused_where_no_head_answers_so(lcdoc: Run, work: Path, parrot: str, other: tuple) -> None:
    (work / "story.txt").write_text("Some words of a story.\n", encoding="utf-8")
    done = lcdoc("ask", "story.txt", "What?", "--model", parrot, "--page-selection", "on", *other)
    assert done.returncode == 2
    assert f"can't go with {other[0]}" in done.stderr
    done = lcdoc("ask", "story.txt", "What?", "--model", parrot, "--page-selection", "maybe")
    assert done.returncode == 2 and "--page-selection" in done.stderr
