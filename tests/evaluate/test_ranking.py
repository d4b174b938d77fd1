"""`lcdoc eval ranking` as it is run, and what its ranks come to."""

import json
import re
from pathlib import Path

import pytest

from lcdoc.documents import load_document
from lcdoc.evaluate.ranking import JUDGES, RankingCell, score

SENTENCE = "The ice lay all around the ship, and the men waited for the wind.\n"
FACT = "Zanzibar copper weighs 4711 pounds.\n"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    """Two questions about a file of which one stretch of lines has the fact."""
    (tmp_path / "docs").mkdir()
    path = tmp_path / "docs/ship.txt"
    path.write_text(SENTENCE * 60 + FACT + SENTENCE * 60)
    [page] = [page.number for page in load_document(str(path)).pages if FACT in page.text]
    one = {"file": "ship.txt", "question": "Zanzibar copper weighs?", "answers": ["4711"], "page": page}
    lines = [json.dumps({"id": name, **one}) for name in ("first", "again")]
    (tmp_path / "questions.jsonl").write_text("\n".join(lines))
    return tmp_path / "questions.jsonl"


def test_ranks_from_end_to_end(call_lcdoc, write_tiny_model, questions: Path, tmp_path: Path) -> None:
    tiny = write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=512, spread=0.2)
    words = ("eval", "ranking", questions, "--model", tiny, "--tokens", "2000", "--json", tmp_path / "r.json")
    done = call_lcdoc(*words, "--limit", "1")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    [cell] = report["cells"]
    assert report["complete"] and (cell["id"], list(cell["ranks"])) == ("first", list(JUDGES))
    assert cell["ranks"]["words"] == 1 and cell["num_passages"] > 5
    assert report["score"]["judges"]["words"] == {
        "mean_reciprocal_rank": 1.0,
        "first_1": 1,
        "first_3": 1,
        "first_6": 1,
    }
    assert "first, " in done.stderr and "words 1" in done.stderr
    rows = [line for line in done.stdout.splitlines() if line.strip().startswith("words")]
    assert rows and "1/1" in rows[0]
    assert cell["reread"] and report["score"]["reread"] == 1 and "right page read again: 1/1" in done.stdout
    again = call_lcdoc(*words, "--limit", "1")
    assert "nothing left to measure" in again.stderr


def test_questions_to_the_same_pages_share_a_reading(
    call_lcdoc, write_tiny_model, questions: Path, tmp_path: Path
) -> None:
    tiny = write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=512, spread=0.2)
    reports = []
    for limit in ("1", "2"):
        path = tmp_path / f"{limit}.json"
        words = ("eval", "ranking", questions, "--model", tiny, "--tokens", "9000", "--limit", limit)
        done = call_lcdoc(*words, "--json", path)
        assert done.returncode == 0, done.stderr
        reports.append(json.loads(path.read_text()))
    [alone], [first, again] = (report["cells"] for report in reports)
    assert len(re.findall(r"^reading \d", done.stderr, re.MULTILINE)) == 1
    for cell in (first, again):
        assert [cell[name] for name in ("ranks", "answer")] == [alone[name] for name in ("ranks", "answer")]


def test_mistakes_are_one_line(call_lcdoc, tiny_model: Path, questions: Path) -> None:
    (questions.parent / "docs/ship.txt").write_text(FACT)
    for options, message, code in (
        (("--tokens", "0"), "tokens must be 1 or more, not 0", 2),
        ((), "ship.txt has no page ", 3),
    ):
        done = call_lcdoc("eval", "ranking", questions, "--model", tiny_model, *options)
        assert (done.returncode, done.stdout) == (code, "") and message in done.stderr


def test_a_page_that_a_judge_finds_nothing_in_has_no_rank() -> None:
    cells = [
        RankingCell(str(rank), 9, dict.fromkeys(JUDGES, rank), rank == 1, "", rank == 4, 1.0)
        for rank in (1, 4, None)
    ]
    assert (score(cells)["reread"], score(cells)["answered"]) == (1, 1)
    assert score(cells)["judges"]["together"] == {
        "mean_reciprocal_rank": round((1 + 1 / 4) / 3, 4),
        "first_1": 1,
        "first_3": 1,
        "first_6": 2,
    }
    assert score([])["judges"]["words"]["mean_reciprocal_rank"] == 0
