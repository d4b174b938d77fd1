"""`lcdoc diff`: an answer over both documents, and what changed, word for word from both."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
BEFORE = (
    "The tenant pays 900 euros a month.\n\nEither party may terminate with thirty days' notice. Pets are allowed.\f"
    'The garage is included. The landlord says "all repairs are ours".'
)
# One sentence changed, one gone, one new, one moved to another page, one in other typography.
AFTER = (
    "The tenant pays 900 euros a month.\n\nEither party may terminate with ninety days\u2019 notice. "
    "Smoking is banned.\nThe garage is included.\fThe landlord says \u201call repairs are ours\u201d."
)


@pytest.fixture
def diff(lcdoc: Run, work: Path, parrot: str) -> Run:
    (work / "old.txt").write_text(BEFORE, encoding="utf-8")
    (work / "new.txt").write_text(AFTER, encoding="utf-8")
    return lambda *words: lcdoc("diff", *words, "--model", parrot)


def test_both_sides_are_read_and_quoted(diff: Run) -> None:
    done = diff("old.txt", "new.txt")
    assert done.returncode == 0, done.stderr
    answer, _, count, _, *changes = done.stdout.splitlines()
    assert (answer, count) == ("Yes.", "3 changes:")
    assert changes == [
        '- old.txt p. 1: "Either party may terminate with thirty days\' notice."',
        '+ new.txt p. 1: "Either party may terminate with ninety days\u2019 notice."',
        "",
        '- old.txt p. 1: "Pets are allowed."',
        "",
        '+ new.txt p. 1: "Smoking is banned."',
    ]
    assert "read " in done.stderr and "4 of 4 pages" in done.stderr


def test_changes_that_bear_on_the_question_come_first(diff: Run, json_schema: Callable[[str], Any]) -> None:
    done = diff("old.txt", "new.txt", "What changed for smoking?", "--changes", "1", "--json")
    comparison = json.loads(done.stdout)
    json_schema("diff").validate(comparison)
    (change,) = comparison["changes"]
    assert change["after"]["words"] == "Smoking is banned." and change["after"]["page"] == 1
    assert comparison["num_changes"] == 3 and comparison["answer"]["receipt"]["pages_read"] == 4


def test_headings_stand_by_themselves(diff: Run, work: Path) -> None:
    for name, rule in (("old.md", "Pets are not allowed."), ("new.md", "One small dog is allowed.")):
        text = f"# Lease\n\n## 3. Pets\n{rule}\n## 12. Notice\nThree months' notice.\n"
        (work / name).write_text(text, encoding="utf-8")
    _, _, count, _, *changes = diff("old.md", "new.md").stdout.splitlines()
    assert count == "1 change:"
    assert [line.split(": ", 1)[1] for line in changes] == [
        '"Pets are not allowed."',
        '"One small dog is allowed."',
    ]


def test_the_same_text_needs_no_model(lcdoc: Run, diff: Run, work: Path) -> None:
    (work / "copy.txt").write_text(BEFORE.replace("\f", "\n\n"), encoding="utf-8")
    done = lcdoc("diff", "old.txt", "copy.txt", "--model", "nonesuch")
    assert (done.returncode, done.stdout) == (0, "The text of both is the same.\n")
    assert diff("old.txt", "old.txt").returncode == 2
