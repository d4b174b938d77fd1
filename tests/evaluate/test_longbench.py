"""LongBench's own files in `lcdoc eval qa`."""

import json
from pathlib import Path
from typing import Any

import pytest

from lcdoc.errors import DocumentError
from lcdoc.evaluate.items import load_items
from lcdoc.evaluate.longbench import DATASETS
from lcdoc.evaluate.metrics import CLASS, METRICS
from lcdoc.evaluate.qa import ANSWER_TOKENS, HINTS


def line(**changes: Any) -> dict[str, Any]:
    """Of version 1."""
    base = {
        "input": "Who bought the lantern?",
        "context": "Passage 1:\nHe sold the lantern to a pilot. " * 4,
        "answers": ["a pilot", "the pilot"],
        "length": 28,
        "dataset": "hotpotqa",
        "language": "en",
        "all_classes": None,
        "_id": "5a8b",
    }
    return base | changes


def choice(**changes: Any) -> dict[str, Any]:
    """Of version 2."""
    base = {
        "_id": "66ec",
        "domain": "Single-Document QA",
        "sub_domain": "Legal",
        "difficulty": "easy",
        "length": "short",
        "question": "What did he sell?",
        **{f"choice_{letter}": f"option {letter}" for letter in "ABCD"},
        "answer": "C",
        "context": "He sold the lantern to a pilot. " * 4,
    }
    return base | changes


def write(path: Path, *lines: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(entry) + "\n" for entry in lines), encoding="utf-8")
    return path


def test_both_versions_from_end_to_end(run_lcdoc, tiny_model: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "longbench.jsonl",
        line(),
        line(_id="t", dataset="trec", answers=["Food"], all_classes=["Food", "Date"]),
        choice(),
        {"context": "A mill.", "question": "What?", "answers": ["a mill"], "metric": "f1"},
    )
    result = run_lcdoc("eval", "qa", path, "--model", tiny_model, "--json", tmp_path / "qa.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "qa.json").read_text(encoding="utf-8"))
    assert [(cell["id"], cell["source"], cell["metric"]) for cell in report["cells"]] == [
        ("5a8b", "hotpotqa", "f1"),
        ("t", "trec", "class"),
        ("66ec", "Single-Document QA", "choice"),
        ("4", "", "f1"),
    ]
    assert report["score"]["exact"]["all"]["cells"] == 4


def test_a_choice_lists_its_options(tmp_path: Path) -> None:
    [item] = load_items(write(tmp_path / "v2.jsonl", choice()))
    assert item.question == "What did he sell?\nA. option A\nB. option B\nC. option C\nD. option D"
    assert item.answers == ("C",) and item.score("The answer is (C).") == 1 and item.score("A") == 0


@pytest.mark.parametrize(
    ("dataset", "answers", "said", "score"),
    [
        ("qasper", ["a pilot"], "The pilot.", 1.0),
        ("hotpotqa_e", ["a pilot"], "a captain", 0.0),
        ("triviaqa", ["Paris"], "Paris\nPassage: London", 1.0),
        ("samsum", ["Amy is ill."], "Amy is ill.\nDialogue: and so on", 1.0),
        ("gov_report", ["It cost much."], "It cost much.", 1.0),
        ("trec", ["Food"], "Food\nType: Date", 1.0),
        ("trec", ["Food"], "Food or Date", 0.5),
        ("passage_retrieval_en", ["Paragraph 15"], "Paragraph 15", 1.0),
        ("passage_count", ["9"], "There are 9, not 10.", 0.5),
        ("lcc", ["return a"], "return a\nreturn b", 1.0),
    ],
)
def test_a_dataset_has_its_metric(
    tmp_path: Path, dataset: str, answers: list[str], said: str, score: float
) -> None:
    row = line(dataset=dataset, answers=answers, all_classes=["Food", "Date"])
    [item] = load_items(write(tmp_path / "v1.jsonl", row))
    assert item.score(said) == pytest.approx(score)
    assert item.source == dataset and item.context == row["context"]


@pytest.mark.parametrize("dataset", DATASETS)
def test_every_dataset_is_asked_something(tmp_path: Path, dataset: str) -> None:
    row = line(dataset=dataset, input="", answers=["1"], all_classes=["1"])
    [blank] = load_items(write(tmp_path / "blank.jsonl", row))
    [item] = load_items(write(tmp_path / "v1.jsonl", row | {"input": "Who {bought} it?"}))
    assert "Who {bought} it?" in item.question or blank.question == item.question != ""
    assert "{input}" not in item.question
    assert item.metric in (*METRICS, CLASS)


def test_every_metric_has_a_length_and_a_hint() -> None:
    assert set(ANSWER_TOKENS) == set(HINTS) == {*METRICS, CLASS}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (line(dataset="dureader"), "line 1: the dataset 'dureader' is not supported"),
        (line(context=3), 'line 1 must have "context" as text'),
        (line(answers=[]), 'line 1 must have "answers" as a list of one text or more'),
        (line(dataset="trec"), 'line 1 must have "all_classes" as a list of one text or more'),
        (line(dataset="passage_count", answers=["nine"]), 'line 1 must have "answers" as a list of one text'),
        (choice(answer="E"), "line 1 must have \"answer\" as a letter from A to D, not 'E'"),
        (choice(choice_D=None), 'line 1 must have "choice_D" as text'),
    ],
    ids=["dataset", "context", "answers", "classes", "number", "letter", "option"],
)
def test_a_line_that_lacks_something_is_refused(tmp_path: Path, row: dict[str, Any], message: str) -> None:
    with pytest.raises(DocumentError, match=message):
        load_items(write(tmp_path / "bad.jsonl", row))
