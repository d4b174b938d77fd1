"""Measures whether a page's extracted text is text at all."""

import re
import unicodedata

# Replacement, private-use and control characters, and glyph names that no font table resolved.
_BROKEN = re.compile(r"[\ufffd\ue000-\uf8ff\U000f0000-\U0010fffd\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_CID = re.compile(r"\(cid:\d+\)|/g\d+\b|/G[0-9A-F]{2}\b")
_WORD = re.compile(r"[^\W\d_]+")
_LONG_WORD_CHARS = 45
MAX_DAMAGE = 0.1
_RIGHT_TO_LEFT = ("R", "AL")


def damage(text: str) -> float:
    """The share of characters that cannot be read: 0 for clean text, 1 for none readable.

    Counted: broken characters, unresolved glyph names, and runs of more than 45 letters, which are
    words whose spaces are lost (in scripts that write spaces).
    """
    num_chars = sum(not char.isspace() for char in text)
    if num_chars == 0:
        return 0.0
    num_broken = len(_BROKEN.findall(text)) + sum(len(glyph) for glyph in _CID.findall(text))
    num_unspaced = sum(
        len(word) for word in _WORD.findall(text) if len(word) > _LONG_WORD_CHARS and _is_spaced_script(word)
    )
    return min(1.0, (num_broken + num_unspaced) / num_chars)


def is_damaged(text: str) -> bool:
    return damage(text) > MAX_DAMAGE


def is_right_to_left(text: str) -> bool:
    """Whether the page holds words of a script that is written from right to left."""
    return any(unicodedata.bidirectional(char) in _RIGHT_TO_LEFT for char in text)


def _is_spaced_script(word: str) -> bool:
    """Latin, Greek, Cyrillic and their neighbours; Chinese, Thai and others write no spaces."""
    return all(char < "\u0e00" for char in word)
