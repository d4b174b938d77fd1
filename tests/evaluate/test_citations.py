"""`lcdoc eval citations` as it is run, and what its cells come to."""

import json
from pathlib import Path

import pytest

from lcdoc.evaluate.citations import CitationCell, score

SENTENCE = "The ice lay all around the ship, and the men waited for the wind.\n"
FACT = "Zanzibar copper weighs 4711 pounds.\n"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Questions about a file of six short pages and a long one; the third page has the fact."""
    (tmp_path / "docs").mkdir()
    short = [SENTENCE * 2, SENTENCE, SENTENCE + FACT, *[SENTENCE * 3] * 3]
    (tmp_path / "docs/ship.txt").write_text("\f".join([*short, SENTENCE * 40]))
    one = {"file": "ship.txt", "question": "Zanzibar copper weighs?", "answers": ["4711 pounds"]}
    lines = [json.dumps({"id": name, **one, "page": page}) for name, page in (("first", 3), ("long", 7))]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    return tmp_path / "questions.jsonl"


def test_citations_from_end_to_end(call_lcdoc, write_tiny_model, questions: Path, tmp_path: Path) -> None:
    tiny = write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=4096, spread=0.2)
    words = (
        "eval",
        "citations",
        questions,
        "--model",
        tiny,
        "--tokens",
        "600",
        "--json",
        tmp_path / "r.json",
    )
    done = call_lcdoc(*words)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    [cell] = report["cells"]
    assert report["complete"] and report["settings"]["questions_with_longer_pages"] == 1
    assert cell["id"] == "first" and 2 <= cell["num_pages"] <= 6
    assert len(cell["confidences"]) == len(cell["rights"]) <= cell["sentences"]
    assert report["score"] == score([CitationCell(**cell)])
    assert "verified quotes that stand on the page named: " in done.stdout
    assert "nothing left to measure" in call_lcdoc(*words).stderr


def test_pages_that_are_all_too_long_are_said(call_lcdoc, tiny_model: Path, questions: Path) -> None:
    questions.write_text(questions.read_text().splitlines()[1])
    done = call_lcdoc("eval", "citations", questions, "--model", tiny_model)
    assert (done.returncode, done.stdout) == (2, "") and "has 600 tokens or less" in done.stderr


def test_the_threshold_is_the_lowest_with_enough_right_pages() -> None:
    def cell(dictated: float | None, right: bool, pages: int = 2, answered: bool = True) -> CitationCell:
        own = ((0.9,), (True,))
        return CitationCell("", pages, "", answered, 1, *own, dictated, right, 1, 1, 0.5)

    cells = [cell(0.1, False), cell(0.6, True), cell(0.5, True, answered=False), cell(None, False)]
    total = score([*cells, cell(0.8, False, pages=1)])
    assert (total["own_sentences"], total["dictated_sentences"], total["threshold"]) == (3, 3, 0.15)
    by = {row["threshold"]: row for row in total["by_threshold"]}
    assert by[0.0]["dictated"] == {"cited": 3, "right": 2} and by[0.15]["dictated"] == {
        "cited": 2,
        "right": 2,
    }
    assert (total["quotes"], total["quotes_right"], total["answered"]) == (5, 5, 4)
    assert score([])["threshold"] is None
