"""Words: real ones out of a text, and made-up ones."""

import random
import re
from collections.abc import Iterator

REAL = re.compile(r"(?<![\w'\u2019-])[a-z]{4,}(?![\w'\u2019-])")
CONSONANTS, VOWELS = "bdfgklmnprstvz", "aeiou"
SYLLABLES = 3


def real_words(text: str) -> list[str]:
    """Every word of four small letters or more, once, by the alphabet."""
    return sorted(set(REAL.findall(text)))


def made_up_words(source: random.Random) -> Iterator[str]:
    """Such as "tokemu", no two the same, and none part of another."""
    seen = set()
    while True:
        word = "".join(source.choice(CONSONANTS) + source.choice(VOWELS) for _ in range(SYLLABLES))
        if word not in seen:
            seen.add(word)
            yield word
