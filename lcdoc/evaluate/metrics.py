"""How right an answer is, from 0 to 1, beside the answers known to be right."""

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

ARTICLES = re.compile(r"\b(a|an|the)\b")
WORDS = re.compile(r"\w+")
NUMBER = re.compile(r"\d+")
# A line with one of these is a fence or a comment.
NO_CODE = ("`", "#", "//")
# Where an answer names its letter, the surest place first.
LETTER_PLACES = (
    re.compile(r"^\W*([A-Z])\W*(?:$|\n)"),
    re.compile(r"^\W*([A-Z])[).:]"),
    re.compile(r"(?i:answer|option|choice)(?i:\s+is)?\W*([A-Z])\b"),
    re.compile(r"\(([A-Z])\)"),
)


def f1(answer: str, right: Sequence[str]) -> float:
    """The words shared with the right answer that fits best: harmonic mean of precision and recall, as SQuAD has it
    (arXiv 1606.05250)."""
    return max(_overlap(normalise(answer).split(), normalise(other).split()) for other in right)


def choice(answer: str, right: Sequence[str]) -> float:
    """Whether the answer names the right letter."""
    return float(named_letter(answer) in {letter.strip().upper() for letter in right})


def contains(answer: str, right: Sequence[str]) -> float:
    """Whether a right answer stands in it, word for word."""
    words = f" {normalise(answer)} "
    return float(any(f" {normalise(other)} " in words for other in right))


def rouge(answer: str, right: Sequence[str]) -> float:
    """ROUGE-L: as f1, with the longest run of words in the same order in place of the words shared."""
    return max(_longest_common(_words(answer), _words(other)) for other in right)


def number(answer: str, right: Sequence[str]) -> float:
    """The share of the numbers in the answer that are the right one, as LongBench has it (arXiv 2308.14508)."""
    said = NUMBER.findall(answer)
    return max(said.count(other) / len(said) for other in right) if said else 0.0


def edit(answer: str, right: Sequence[str]) -> float:
    """How alike a line of code is, as LongBench has it: 1 less the letters to add and drop, by those of both lines."""
    lines = [line for line in answer.lstrip("\n").split("\n") if not any(mark in line for mark in NO_CODE)]
    return max(_longest_common(list("".join(lines[:1])), list(other)) for other in right)


def named_class(answer: str, right: Sequence[str], classes: Sequence[str]) -> float:
    """Whether the right class stands in the answer, by how many others do too, as LongBench has it.

    One that is part of the right one's name does not count as another.
    """
    said = [name for name in classes if name in answer]
    scores = []
    for other in right:
        rivals = [name for name in said if name == other or name not in other]
        scores.append(1 / len(rivals) if other in rivals else 0.0)
    return max(scores)


METRICS: dict[str, Callable[[str, Sequence[str]], float]] = {
    "f1": f1,
    "choice": choice,
    "contains": contains,
    "rouge": rouge,
    "number": number,
    "edit": edit,
}
# The one that also looks at what else there is to choose from.
CLASS = "class"


def normalise(text: str) -> str:
    """Lower case, without punctuation, articles and double spaces."""
    bare = "".join(char for char in text.lower() if char not in string.punctuation)
    return " ".join(ARTICLES.sub(" ", bare).split())


def named_letter(answer: str) -> str | None:
    """The letter of the option that an answer names: "B", "(B) Because", "The answer is B."."""
    for place in LETTER_PLACES:
        if match := place.search(answer):
            return match[1]
    return None


def _words(text: str) -> list[str]:
    return WORDS.findall(text.lower())


def _overlap(answer: list[str], right: list[str]) -> float:
    return _harmonic(sum((Counter(answer) & Counter(right)).values()), len(answer), len(right))


def _longest_common(answer: list[str], right: list[str]) -> float:
    """By the longest common subsequence, a row of its table at a time."""
    row = [0] * (len(right) + 1)
    for word in answer:
        before = row
        row = [0]
        for idx, other in enumerate(right):
            row.append(before[idx] + 1 if word == other else max(before[idx + 1], row[idx]))
    return _harmonic(row[-1], len(answer), len(right))


def _harmonic(shared: int, num_answer: int, num_right: int) -> float:
    total = num_answer + num_right
    return 2 * shared / total if total else 1.0
