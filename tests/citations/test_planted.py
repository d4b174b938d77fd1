"""A hundred true answers about real documents, and a hundred with one error each: what the checker finds."""

from collections.abc import Callable
from functools import cache
from typing import Any

import pytest

from lcdoc.citations.checker import Checker
from lcdoc.citations.claim import Claim
from lcdoc.documents.document import Document

# The checker was made with the answers of seeds 1 to 5; these it had not seen.
SEEDS = (101, 102)
MIN_FOUND, MAX_FALSE_ALARMS = 95, 2

Draw = Callable[[int, bool], list[Any]]


@cache
def checker(document: Document) -> Checker:
    return Checker([document])


def faults(answer: Any) -> list[Claim]:
    claims = checker(answer.document).claims(answer.text)
    return [claim for claim in claims if claim.status != "unchecked" and not claim.supported]


@pytest.mark.parametrize("seed", SEEDS)
def test_planted_errors_are_found(draw_answers: Draw, seed: int) -> None:
    missed = []
    for answer in draw_answers(seed, True):
        start = answer.text.index(answer.wrong)
        end = start + len(answer.wrong)
        if not any(fault.start < end and start < fault.start + len(fault.words) for fault in faults(answer)):
            missed.append((answer.error, answer.document.source, answer.wrong))
    assert len(missed) <= 100 - MIN_FOUND, missed


@pytest.mark.parametrize("seed", SEEDS)
def test_true_answers_raise_no_alarm(draw_answers: Draw, seed: int) -> None:
    alarms = [(answer.text, found) for answer in draw_answers(seed, False) if (found := faults(answer))]
    assert len(alarms) <= MAX_FALSE_ALARMS, [
        (text, found[0].words, found[0].problems) for text, found in alarms
    ]
