"""`lcdoc verify`: its lines, its JSON, its exit codes."""

import json
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

REPORT = Path(__file__).parents[2] / "samples" / "us-economy-2008-q3.pdf"
Run = Callable[..., "CompletedProcess[str]"]


@pytest.fixture
def answered(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        (tmp_path / "answer.md").write_text(text, encoding="utf-8")
        return "answer.md"

    return write


def test_a_true_answer_ends_with_0(call_lcdoc: Run, answered: Callable[[str], str]) -> None:
    name = answered('We read that "the consumer price index fell by 0.8 percent" (p. 5). So it goes.')
    done = call_lcdoc("verify", name, REPORT)
    assert done.returncode == 0
    assert done.stdout.splitlines() == [
        f'verified line 1 {REPORT} p. 7 (label 5): "the consumer price index fell by 0.8 percent"'
    ]
    assert (
        "1 claim checked, none found wrong; 1 sentence without quote, figure or page not judged"
        in done.stderr
    )


def test_each_fault_is_named_and_ends_with_6(
    call_lcdoc: Run, answered: Callable[[str], str], json_schema: Callable[[str], Any]
) -> None:
    text = (
        '"The consumer price index fell by 0.9 percent in the third quarter" (p. 5).\n'
        "An inflation rate below zero does not mean that prices fell.\n\n"
        'It adds "The consumer\nprice index was 216.9 in" (p. 9). "All is well with the world."'
    )
    done = call_lcdoc("verify", answered(text), REPORT)
    assert done.returncode == 6
    repaired, negated, misplaced, invented = done.stdout.splitlines()
    assert repaired.startswith("repaired line 1 ") and '["0.9" is "0.8" in the source]' in repaired
    assert repaired.endswith(
        'the source: "The consumer price index fell by 0.8 percent in the third quarter"'
    )
    assert '["does not mean" is "means" in the source]' in negated
    assert misplaced.startswith("verified line 4 ") and misplaced.endswith("[stands elsewhere than p. 9]")
    assert invented == 'unverified line 5 "All is well with the world." [not found in the documents]'
    shown = json.loads(call_lcdoc("verify", "answer.md", REPORT, "--json").stdout)
    json_schema("verify").validate(shown)
    assert [claim["supported"] for claim in shown["claims"]] == [False] * 4
    assert shown["claims"][0]["source_words"].startswith("The consumer price index fell by 0.8")


def test_the_answer_from_stdin_shows_no_controls(run_lcdoc: Run) -> None:
    done = run_lcdoc(
        "verify", "-", REPORT, input='The document says: "\x1b[31mprices fell and fell and fell" and so on.'
    )
    assert done.returncode == 6
    assert "\x1b" not in done.stdout + done.stderr and "prices fell" in done.stdout


@pytest.mark.parametrize(
    ("words", "text", "code"),
    [
        (("gone.md", REPORT), "", 3),
        (("answer.md", "gone.pdf"), "Words.", 3),
        (("answer.md",), "Words.", 2),
        (("-", "-"), "Words.", 2),
        (("answer.md", REPORT), "\n \n", 2),
        (("answer.md", REPORT), "word " * 50_000, 2),
    ],
    ids=["no answer", "no document", "no file", "stdin twice", "blank", "too long"],
)
def test_bad_input(
    call_lcdoc: Run, answered: Callable[[str], str], words: tuple[str, ...], text: str, code: int
) -> None:
    answered(text)
    done = call_lcdoc("verify", *words)
    assert (done.returncode, done.stdout) == (code, "")
    assert len([line for line in done.stderr.splitlines() if line.startswith("lcdoc: ")]) == 1
