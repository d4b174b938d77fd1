"""Question sets: `lcdoc eval qa` as it is run, and the files it takes."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from lcdoc.config import ReadSettings
from lcdoc.errors import DocumentError, UsageError
from lcdoc.evaluate.items import load_items
from lcdoc.evaluate.qa import QaCell, QaPlan, QaTest, score

REAL = Path(__file__).parents[1] / "data" / "qa" / "qa.jsonl.gz"
STORY = "The harbour master kept a lantern. He sold it to a pilot for nine coins in the winter. " * 8
TOWN = "The town has two bridges and one mill. The mill burnt down in 1876. " * 12
LONG = "Nothing happened on that day, nor on the day after it. " * 400


def row(**changes: Any) -> dict[str, Any]:
    base = {"context": STORY, "question": "Who bought it?", "answers": ["a pilot"], "metric": "f1"}
    return base | changes


ROWS = [
    row(id="buyer", source="invented"),
    row(id="when", context=TOWN, question="When did it burn?", answers=["1876"], metric="contains"),
    row(id="price", question="For how much?\nA. nine coins\nB. ten coins", answers=["A"], metric="choice"),
    row(id="long", context=LONG),
    row(id="seller", question="Who sold it?", answers=["the harbour master", "he"]),
    row(id="story", question="What is it about?", answers=["A lantern is sold."], metric="rouge"),
]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    text = "".join(json.dumps(entry, ensure_ascii=False) + "\n" for entry in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    return write(tmp_path / "questions.jsonl.gz", ROWS)


def test_from_end_to_end(run_lcdoc, tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("eval", "qa", questions, "--model", tiny_model, "--mode", "exact,int4", "--max-tokens", "1500"),
        *("--json", tmp_path / "qa.json"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "qa.json").read_text(encoding="utf-8"))
    assert report["suite"] == "qa" and report["complete"]
    assert report["settings"]["questions_in_file"] == 6 and report["settings"]["questions_left_out"] == 1
    cells = [(cell["id"], cell["mode"]) for cell in report["cells"]]
    ids = ("buyer", "when", "price", "seller", "story")
    assert cells == [(id, mode) for id in ids for mode in ("exact", "int4")]
    assert report["score"]["exact"]["all"]["cells"] == 5
    assert report["score"]["exact"]["all"]["same_as_exact"] == 5
    assert report["score"]["exact"]["f1"]["cells"] == 2
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[-1:] == ["5"]]
    assert [entry[:2] for entry in rows] == [["all", "exact"], ["all", "int4"]]
    assert "10 of 10: int4, story, " in result.stderr


def test_mistakes_are_one_line(call_lcdoc, tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    bad = write(tmp_path / "bad.jsonl", [row(), row(metric="bleu")])
    for path, options, message, code in (
        (questions, ("--limit", "0"), "limit must be 1 or more, not 0", 2),
        (
            bad,
            (),
            "line 2: metric must be one of f1, choice, contains, rouge, number, edit, class, not 'bleu'",
            3,
        ),
    ):
        result = call_lcdoc("eval", "qa", path, "--model", tiny_model, *options)
        assert result.returncode == code and result.stdout == "", message
        assert message in result.stderr and "Traceback" not in result.stderr


def test_a_shared_reading_answers_as_a_reading_for_each_question(tiny_model: Path, questions: Path) -> None:
    settings = ReadSettings(model=str(tiny_model), chunk_tokens=128)
    answers: list[dict[tuple[str, str], str]] = []
    for shared in (False, True):
        plan = QaPlan(1500, modes=("exact", "stock"), shared_reading=shared)
        test = QaTest(settings, questions, plan)
        answers.append({(cell.id, cell.mode): cell.answer for cell in test.run()})
        assert test.report()["complete"]
    assert answers[0] == answers[1] and len(answers[0]) == 10
    assert len(set(answers[0].values())) > 2


def test_what_fits_the_limit_but_not_the_window_is_left_out(tiny_model: Path, questions: Path) -> None:
    test = QaTest(ReadSettings(model=str(tiny_model)), questions, QaPlan(1_000_000))
    assert test.num_cells == 5 and test.report()["settings"]["questions_left_out"] == 1


def test_texts_of_too_few_tokens_are_left_out(tiny_model: Path, questions: Path) -> None:
    every = QaTest(ReadSettings(model=str(tiny_model)), questions, QaPlan(1500))
    lengths = {cell.id: cell.prompt_tokens for cell in every.run()}
    least = sorted(lengths.values())[2]
    longer = QaTest(ReadSettings(model=str(tiny_model)), questions, QaPlan(1500, min_tokens=least))
    left = {cell.id for cell in longer.run()}
    assert left and left < set(lengths) and all(lengths[name] > least for name in left)
    assert longer.report()["settings"]["questions_left_out"] == 6 - len(left)


def test_a_limit_takes_questions_from_all_over_the_file(tiny_model: Path, questions: Path) -> None:
    test = QaTest(ReadSettings(model=str(tiny_model)), questions, QaPlan(1500, limit=2))
    assert [cell.id for cell in test.run()] == ["buyer", "price"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "can't be read as JSON lines in UTF-8"),
        (b"", "holds no questions"),
        (b"{}\n", 'line 1 must have "context" as text'),
        (b'\n{"context": 1}\n', 'line 2 must have "context" as text'),
        (b"[1]\n", "line 1 must be a JSON object, not list"),
        (b"{\n", "line 1 is not JSON"),
        (json.dumps(row(answers=[])).encode(), 'line 1 must have "answers" as a list of one text or more'),
        (json.dumps(row(answers="x")).encode(), 'line 1 must have "answers" as a list'),
        (b"\xff\xfe{", "can't be read as JSON lines in UTF-8"),
        (gzip.compress(b"{}", mtime=0)[:-9], "can't be read as JSON lines in UTF-8"),
    ],
)
def test_a_file_that_is_no_question_set_is_refused(
    tmp_path: Path, content: bytes | None, message: str
) -> None:
    path = tmp_path / "bad.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DocumentError, match=message):
        load_items(path)


def test_a_line_of_json_may_hold_unicode_line_ends(tmp_path: Path) -> None:
    path = write(tmp_path / "odd.jsonl", [row(context="one\u2028two\x85three")])
    [item] = load_items(path)
    assert item.context == "one\u2028two\x85three" and item.id == "1"


def test_scores_by_mode_and_metric() -> None:
    def cell(mode: str, id: str, metric: str, answer: str, points: float) -> QaCell:
        return QaCell(mode, id, "", metric, 10, 0.1, 1, answer, points)

    totals = score(
        [
            cell("exact", "1", "f1", "a pilot", 1.0),
            cell("int4", "1", "f1", "a pilot", 1.0),
            cell("exact", "2", "choice", "A", 1.0),
            cell("int4", "2", "choice", "B", 0.0),
        ]
    )
    assert totals["int4"] == {
        "f1": {"cells": 1, "mean": 1.0, "same_as_exact": 1},
        "choice": {"cells": 1, "mean": 0.0, "same_as_exact": 0},
        "all": {"cells": 2, "mean": 0.5, "same_as_exact": 1},
    }


def test_the_shipped_questions_are_read() -> None:
    items = load_items(REAL)
    assert [item.metric for item in items] == ["choice", "choice", "contains", "rouge"]
    assert items[0].context == items[1].context != items[2].context


def test_a_file_without_a_text_that_fits_is_refused(tiny_model: Path) -> None:
    with pytest.raises(
        UsageError, match="none of the 4 texts of .*qa.jsonl.gz has from 1 to 8,000 tokens and fits the model"
    ):
        QaTest(ReadSettings(model=str(tiny_model)), REAL, QaPlan())


@pytest.mark.model
def test_the_default_model_on_a_real_meeting(run_lcdoc, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("eval", "qa", REAL, "--max-tokens", "3200", "--shared-reading", "--json", tmp_path / "qa.json")
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "qa.json").read_text(encoding="utf-8"))
    assert report["settings"]["questions_left_out"] == 2
    assert [cell["id"] for cell in report["cells"]] == ["s061", "s065"]
    assert all(cell["answer"] for cell in report["cells"])
