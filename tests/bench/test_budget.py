"""Readings under budgets that just allow them: which pages, which budgets, and what the command tells of them."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lcdoc.bench.budget import BudgetRun, Steps
from lcdoc.bench.excerpt import leading_pages
from lcdoc.bench.stairs import spread
from lcdoc.cli.budget import print_runs
from lcdoc.documents.document import Document, Page
from lcdoc.engine.budget import Rung
from lcdoc.engine.heads import HeadSplit
from lcdoc.errors import DocumentError, UsageError
from lcdoc.models import load_tokenizer, resolve

LETTER = Path(__file__).parents[2] / "samples" / "frankenstein-letter-1.txt"
RUN = BudgetRun("a.txt", "lines", (1, 2, 4), 9, 120, "exact", "", 200 << 20, 190 << 20, 180 << 20)


def rung(peak_bytes: int) -> Rung:
    return Rung(f"{peak_bytes}", HeadSplit.exact(), "model", 128, 0, 0, peak_bytes, "")


@pytest.mark.parametrize(
    ("steps", "chosen"),
    [(2, [100, 40]), (3, [100, 70, 40]), (4, [100, 80, 60, 40]), (13, [100, 90, 80, 70, 60, 40])],
)
def test_budgets_are_spread_from_exact_to_least(steps: int, chosen: list[int]) -> None:
    rungs = [rung(peak) for peak in (100, 90, 80, 70, 75, 60, 40, 55)]
    assert [rung.peak_bytes for rung in spread(rungs, steps)] == chosen


def test_ways_that_take_the_same_are_measured_once() -> None:
    assert len(spread([rung(100), rung(100)], 4)) == 1


@pytest.fixture(scope="module")
def tokenizer(byte_model: Path) -> Any:
    return load_tokenizer(resolve(str(byte_model)))


def document(*sizes: int) -> Document:
    """Pages that make that many tokens each, with the two line ends that follow them; 0 for one without text."""
    pages = (Page(number, "", "x" * (size - 2)) for number, size in enumerate(sizes, 1))
    return Document("notes.txt", "text", "lines", tuple(pages), len(sizes))


@pytest.mark.parametrize(
    ("sizes", "num_pages"),
    [
        ((40, 40, 20), 3),  # all of it
        ((40, 60, 50), 2),  # exactly enough
        ((40, 59, 50), 3),  # the last page goes beyond
        ((40, 160, 50), 2),  # to twice as much
        ((40, 161, 50), 1),  # but no further
        ((0, 500, 50), 2),  # never less than one page with text
    ],
)
def test_the_first_pages_are_read(tokenizer: Any, sizes: tuple[int, ...], num_pages: int) -> None:
    whole = document(*sizes)
    part = leading_pages(tokenizer, whole, 100)
    assert part == replace(whole, pages=whole.pages[:num_pages])


def test_a_document_without_text_is_refused(tokenizer: Any) -> None:
    with pytest.raises(DocumentError, match="holds no text"):
        leading_pages(tokenizer, document(0), 100)


def test_the_worst_is_told_last(capsys: pytest.CaptureFixture[str]) -> None:
    print_runs([RUN, replace(RUN, rung="int8 KV", measured_bytes=210 << 20)])
    out = capsys.readouterr().out
    assert "a.txt: lines 1-2, 4 of 9, 120 tokens" in out
    rows = [line.split() for line in out.splitlines()]
    assert ["exact", "200.0", "190.0", "180.0", "90.0%", "+5.6%"] in rows
    assert "2 readings: at most 105.0% of the budget taken (a.txt, int8 KV)" in out
    assert "foretold peak off by -9.5% at most (a.txt, int8 KV)" in out
    over = [line for line in out.splitlines() if line.startswith("OVER ITS BUDGET")]
    assert over == ["OVER ITS BUDGET: a.txt, int8 KV: 210.0 MiB are 105.0% of the budget, -9.5% foretold"]


def test_wrong_choices_are_refused(run_lcdoc) -> None:
    with pytest.raises(UsageError, match="steps must be 2 or more, not 1"):
        Steps(count=1)
    with pytest.raises(UsageError, match="max-tokens must be 1 or more, not 0"):
        Steps(max_tokens=0)
    result = run_lcdoc("bench", "budget", "-")
    assert result.returncode == 2 and "which stdin (-) can't give" in result.stderr


def test_the_command_from_end_to_end(run_lcdoc, byte_model: Path, tmp_path: Path) -> None:
    """A letter that fits the window beside a text that doesn't."""
    long = tmp_path / "long.txt"
    long.write_text("y" * 20_000, encoding="utf-8")
    result = run_lcdoc(
        *("bench", "budget", LETTER, long, "--model", byte_model, "--dtype", "float32"),
        *("--max-tokens", "9000", "--steps", "2", "--json", tmp_path / "budget.json"),
    )
    assert result.returncode == 0, result.stderr
    assert "long.txt is left out: the document has " in result.stderr
    report = json.loads((tmp_path / "budget.json").read_text(encoding="utf-8"))
    assert report["suite"] == "bench budget" and report["complete"] is True
    assert report["settings"]["options"] == [f"--model={byte_model}", "--dtype=float32"]
    exact, least = report["results"]
    assert exact["rung"] == "exact" and exact["loss"] == "" and least["rung"] != "exact"
    assert exact["source"] == str(LETTER) and exact["page_numbers"][0] == 1
    assert least["budget_bytes"] < exact["budget_bytes"]
    for run in (exact, least):
        assert 6000 < run["tokens"] < 8192
        assert 0 <= run["budget_bytes"] - run["predicted_bytes"] < 16 << 20
        assert run["measured_to_budget"] == run["measured_bytes"] / run["budget_bytes"]
        assert run["predicted_to_measured"] == run["predicted_bytes"] / run["measured_bytes"]
        # A process that has loaded torch takes this much at the least.
        assert 100 << 20 < run["measured_bytes"] <= run["budget_bytes"]
    assert "2 readings: at most " in result.stdout


def test_a_reading_that_fails_is_one_line(run_lcdoc, byte_model: Path) -> None:
    result = run_lcdoc("bench", "budget", LETTER, "--model", byte_model, "--mode", "duo")
    assert result.returncode == 2
    assert "--mode duo needs a head profile" in result.stderr and "Traceback" not in result.stderr
