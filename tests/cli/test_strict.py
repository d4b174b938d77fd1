"""Citations by attention, and `lcdoc ask --strict`: what is printed, what is left out, how it exits."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
PROFILE = (
    "model: speaker\nsource: made up\nsink_size: 4\nrecent_size: 8\n"
    "gates:\n  - [1.0, 1.0]\n  - [1.0, 1.0]\nciting: {threshold: %s}\n"
)
# Three pages of print.
WEATHER = "The wind moved on at noon.\fRain fell for 40 days over the harbour.\fNobody saw the sun again."
QUESTION = "Who saw the sun over the harbour?"


@pytest.fixture
def ask(lcdoc: Run, work: Path, speaker: Callable[[str], str]) -> Run:
    """Asks of the weather what a model answers with one and the same sentence, at a threshold."""
    (work / "weather.txt").write_text(WEATHER, encoding="utf-8")
    model = speaker("Zephyr walks!")

    def run(threshold: float, question: str, *options: str) -> subprocess.CompletedProcess[str]:
        (work / "profile.yaml").write_text(PROFILE % threshold, encoding="utf-8")
        return lcdoc(
            "ask", "weather.txt", question, "--model", model, "--profile", "profile.yaml", "--quiet", *options
        )

    return run


def test_a_sentence_without_a_quote_is_cited_with_what_was_attended_to(
    ask: Run, json_schema: Callable[[str], Any]
) -> None:
    done = ask(0, QUESTION)
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and lines[:2] == ["Zephyr walks!", ""]
    assert lines[2].startswith("[1] weather.txt p. ") and "(by attention, confidence 0." in lines[2]
    answer = json.loads(ask(0, QUESTION, "--json").stdout)
    json_schema("answer").validate(answer)
    (citation,) = answer["citations"]
    assert (citation["status"], citation["quote"]) == ("attended", "Zephyr walks!")
    assert citation["source_words"] == WEATHER.split("\f")[citation["page"] - 1]
    assert 0 <= citation["confidence"] < 1
    assert answer["support"]["supported"] == ["Zephyr walks!"]


def test_below_the_threshold_no_page_is_named(ask: Run) -> None:
    assert ask(1, QUESTION).stdout == "Zephyr walks!\n"


@pytest.mark.parametrize(
    ("threshold", "question", "code", "printed"),
    [
        (0, QUESTION, 0, "Zephyr walks!\n\n[1] weather.txt p. "),
        (1, QUESTION, 6, ""),
        (0, "Which chancellor signed Luxembourg's treaty?", 5, "The document does not say.\n"),
    ],
    ids=["supported", "unsupported", "not said"],
)
def test_strict(ask: Run, threshold: float, question: str, code: int, printed: str) -> None:
    done = ask(threshold, question, "--strict")
    assert done.returncode == code
    assert done.stdout.startswith(printed) and bool(done.stdout) == bool(printed)


def test_strict_json_says_what_was_left_out_and_what_is_near(
    ask: Run, json_schema: Callable[[str], Any]
) -> None:
    done = ask(1, "For how many days fell rain?", "--strict", "--json")
    answer = json.loads(done.stdout)
    json_schema("answer").validate(answer)
    assert (done.returncode, answer["answer"]) == (6, "")
    support = answer["support"]
    assert (support["supported"], support["unsupported"], support["said"]) == ([], ["Zephyr walks!"], True)
    assert "Rain fell for 40 days" in support["nearest"][0]["words"] and support["evidence"] > 0.3


def test_strict_in_a_chat_is_refused(lcdoc: Run, work: Path) -> None:
    (work / "weather.txt").write_text(WEATHER, encoding="utf-8")
    done = lcdoc("ask", "weather.txt", "--strict")
    assert done.returncode == 2
