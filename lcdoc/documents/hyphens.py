"""Rejoins words cut at line ends, keeping the hyphens that belong to them."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

_CUT_WORD = re.compile(r"(\w+)-\n(?=(\w+))")
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")
_MIN_WORD_CHARS = 4


def rejoin_hyphens(pages: Sequence[str]) -> list[str]:
    """Join "adip-\\niscing" to "adipiscing" and "pressure-\\ndemand" to "pressure-demand".

    The document itself decides: the form it spells elsewhere inside a line wins. With neither spelled,
    a hyphen stays between two words that both stand alone elsewhere ("site-specific"), beside a digit,
    and where capitals meet small letters ("Schwarz-Weiss", "FAA-approved").
    """
    seen = _spellings(pages)

    def join(match: re.Match[str]) -> str:
        left, right = match.groups()
        return left + "-" if _keeps_hyphen(left, right, seen) else left

    return [_CUT_WORD.sub(join, page) if "-\n" in page else page for page in pages]


def _spellings(pages: Iterable[str]) -> Counter[str]:
    """How often each word and each compound stands inside a line, in lower case."""
    seen: Counter[str] = Counter()
    for page in pages:
        for word in _WORD.findall(page):
            lowered = word.lower()
            seen[lowered] += 1
            parts = lowered.split("-")
            for first, second in zip(parts, parts[1:], strict=False):
                seen[f"{first}-{second[:4]}*"] += 1  # so that "work-hours" vouches for "work-hour"
    return seen


def _keeps_hyphen(left: str, right: str, seen: Counter[str]) -> bool:
    joined = seen[(left + right).lower()]
    compound = seen[f"{left}-{right[:4]}*".lower()]
    is_one_case = left.isupper() == right.isupper() and not (left[-1].islower() and right[0].isupper())
    if not is_one_case or left[-1].isdigit() or right[0].isdigit():
        return True
    if joined or compound:
        return compound > joined
    return left.isupper() or all(
        len(word) >= _MIN_WORD_CHARS and seen[word.lower()] > 1 for word in (left, right)
    )
