"""Whether two short answers to one question contradict each other, by their figures and names."""

from collections.abc import Callable
from dataclasses import dataclass

from lcdoc.citations.figures import values
from lcdoc.citations.names import NAME, names

Read = Callable[[str], set[str]]


@dataclass(frozen=True)
class Finding:
    """What was answered from some words of a document alone."""

    answer: str
    source: str


def disagree(question: str, one: Finding, other: Finding) -> bool:
    """Whether each tells figures, or each names, that its own source has and the other's has not. What the question
    says already is no answer, and what an answer has beyond its source was made up: it contradicts nothing."""
    return any(
        _is_told(kind, question, one, other) and _is_told(kind, question, other, one) for kind in KINDS
    )


def _is_told(kind: tuple[Read, Read], question: str, finding: Finding, other: Finding) -> bool:
    says, vouches = kind
    told = (says(finding.answer) & vouches(finding.source)) - says(question)
    return bool(told) and told.isdisjoint(says(other.source))


def _capitalised(text: str) -> set[str]:
    return set(NAME.findall(text))


def _named(text: str) -> set[str]:
    return set(names(text))


# What a text says of a kind, and what of it a source vouches for: a capital alone may be the sentence's.
KINDS: tuple[tuple[Read, Read], ...] = ((values, values), (_capitalised, _named))
