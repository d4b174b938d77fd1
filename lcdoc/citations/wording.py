"""Two wordings of one statement side by side: which words, figures and negations differ."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from lcdoc.citations.normal_text import CJK

WORD = re.compile(rf"\d+(?:[.,\u00a0\u202f]\d+)*|[{CJK}]|[^\W\d_{CJK}]+(?:['\u2019][^\W\d_]+)*")
NEGATIONS = frozenset(
    [
        "not",
        "no",
        "never",
        "none",
        "nor",
        "neither",
        "cannot",
        "without",
        "nothing",
        "nobody",
        "nowhere",
        "hardly",
        "scarcely",
        "nicht",
        "nie",
        "kein",
        "keine",
    ]
)
# So many words beside a change are looked at, and so many of them have to be the source's own.
BESIDE, AT_LEAST = 6, 5
# More words than these are another statement, not a change of this one.
MAX_CHANGE_WORDS = 4


@dataclass(frozen=True)
class Change:
    """Words of the answer in the place of words of the source; either may be none. beside: how many of the words next
    to them are the same in both."""

    answer: tuple[str, ...]
    source: tuple[str, ...]
    beside: int

    @property
    def negates(self) -> bool:
        """Whether one side denies what the other says."""
        short = max(len(self.answer), len(self.source)) <= MAX_CHANGE_WORDS
        return short and num_negations(self.answer) % 2 != num_negations(self.source) % 2

    @property
    def changes_figure(self) -> bool:
        short = max(len(self.answer), len(self.source)) <= MAX_CHANGE_WORDS
        ours, theirs = ({word for word in side if word[0].isdigit()} for side in (self.answer, self.source))
        return short and bool(ours) and bool(theirs) and not ours & theirs


def words_of(text: str) -> list[str]:
    """In one case, numbers without separators of thousands, both kinds of apostrophe alike."""
    return [plain(word) for word in WORD.findall(text)]


def num_negations(words: Sequence[str]) -> int:
    return sum(word in NEGATIONS or word.endswith("n't") for word in words)


def changes(answer: Sequence[str], source: Sequence[str]) -> tuple[list[Change], int, float]:
    """What differs between the answer's words and those of the source that they follow; how many words of the answer
    do, from the first two that stand together in both to the last; and the share of these that are the source's. What
    the source has before and after them is no change."""
    from rapidfuzz.distance import LCSseq

    blocks = _coherent([code for code in LCSseq.opcodes(answer, source) if code.tag == "equal"])
    if not blocks:
        return [], 0, 0.0
    same = [False] * len(answer)
    for block in blocks:
        same[block.src_start : block.src_end] = [True] * (block.src_end - block.src_start)
    first, last = blocks[0], blocks[-1]
    found = [_opening(answer, source, first, _beside(same, 0, first.src_start))]
    for left, right in zip(blocks, blocks[1:], strict=False):
        ours = tuple(answer[left.src_end : right.src_start])
        theirs = tuple(source[left.dest_end : right.dest_start])
        found.append(Change(ours, theirs, _beside(same, left.src_end, right.src_start)))
    found.append(_closing(answer, source, last, _beside(same, last.src_end, len(answer))))
    length = last.src_end - first.src_start
    return found, length, sum(same) / length


def _opening(answer: Sequence[str], source: Sequence[str], first: Any, beside: int) -> Change:
    """What the answer has before the first words that are the same; where it has nothing, the source's word there
    counts: "not all" is no "all"."""
    ours = tuple(answer[: first.src_start])
    return Change(
        ours, () if ours else tuple(source[max(first.dest_start - 1, 0) : first.dest_start]), beside
    )


def _closing(answer: Sequence[str], source: Sequence[str], last: Any, beside: int) -> Change:
    """What the answer has behind the last words that are the same, and the source's figure there if both have one."""
    ours = tuple(answer[last.src_end :])
    change = Change(ours, tuple(source[last.dest_end : last.dest_end + len(ours)]), beside)
    return change if change.changes_figure else Change(ours, (), beside)


def _coherent(blocks: list[Any]) -> list[Any]:
    """From the first words that stand together in both to the last, with single ones close behind them."""
    together = [index for index, block in enumerate(blocks) if block.src_end - block.src_start > 1]
    if not together:
        return []
    first, last = together[0], together[-1]
    while last + 1 < len(blocks) and _are_close(blocks[last], blocks[last + 1]):
        last += 1
    return blocks[first : last + 1]


def _are_close(left: Any, right: Any) -> bool:
    return max(right.src_start - left.src_end, right.dest_start - left.dest_end) <= MAX_CHANGE_WORDS


def _beside(same: Sequence[bool], start: int, end: int) -> int:
    return sum(same[max(start - BESIDE, 0) : start]) + sum(same[end : end + BESIDE])


@lru_cache(maxsize=200_000)
def plain(word: str) -> str:
    word = unicodedata.normalize("NFKC", word)
    if word[0].isdigit():
        return re.sub(r"[,\s](?=\d{3}(?!\d))", "", word)
    return word.casefold().replace("\u2019", "'")
