"""Text without its typography: what two renderings of the same words have in common."""

import re
import unicodedata
from bisect import bisect_left
from functools import lru_cache

CJK = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
# A footnote mark ("[12]", or "12The" where its note begins), a letter of a script without spaces, a word, or one other
# character; "_" is none of them.
TOKEN = re.compile(rf"\[\d{{1,3}}\]|[{CJK}]|\d+(?=[A-Z][a-z])|[^\W_{CJK}]+|[^\w\s]")
# Two characters before a token and two of it: it is the end of a number, or the sign within one.
WITHIN_NUMBER = re.compile(r"\d[.,]\d|.?\d[.,]\d")
DASHES = "\u00ad\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d-"
QUOTES = "'\"`\u00b4\u2018\u2019\u201a\u201b\u201c\u201d\u201e\u201f\u2032\u2033\u00ab\u00bb\u2039\u203a"
IGNORED = frozenset(f"{QUOTES}*|\\\u2022\u200b\u200c\u200d\u2060\ufeff")


class NormalText:
    """The letters, digits and signs of a text in NFKC and in one case, without white space, quote marks, footnote
    marks, and hyphens that no digit follows; numbers that stand apart stay apart.

    chars: what is left, in one string. Tokens keep where they stand in chars and in the text, so that what is found in
    chars begins and ends with whole words.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        pieces, position, before = [], 0, (-1, "")
        self._starts: list[int] = []
        self._spans: list[tuple[int, int]] = []
        matches = list(TOKEN.finditer(text))
        for index, match in enumerate(matches):
            token = match[0]
            if token in DASHES:
                follower = matches[index + 1] if index + 1 < len(matches) else None
                normal = "-" if follower and follower[0][0].isdigit() else ""
            else:
                normal = _normal(token)
                end, last = before
                if normal and normal[0].isdigit() and last.isdigit() and match.start() > end:
                    pieces.append(" ")
                    position += 1
            if normal:
                self._starts.append(position)
                self._spans.append(match.span())
                pieces.append(normal)
                position += len(normal)
                before = match.end(), normal[-1]
        self._starts.append(position)
        self.chars = "".join(pieces)

    def find(self, chars: str, start: int = 0) -> tuple[int, int] | None:
        """Where chars stand, in whole words, at or after a position in self.chars; the span is one of positions."""
        while chars and (found := self.chars.find(chars, start)) >= 0:
            first = self._token_at(found)
            last = self._token_at(found + len(chars))
            whole = first is not None and last is not None
            if whole and not (self._is_within_number(first) or self._is_within_number(last)):
                return found, found + len(chars)
            start = self._starts[bisect_left(self._starts, found + 1)]
        return None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the text that a span of whole words in chars comes from."""
        first, last = bisect_left(self._starts, start), bisect_left(self._starts, end) - 1
        return self._spans[first][0], self._spans[last][1]

    def position(self, offset: int) -> int:
        """The position in chars of the first token at or after an offset in the text."""
        return self._starts[bisect_left(self._spans, (offset, 0))]

    def _token_at(self, position: int) -> int | None:
        """Its index, also for a position in front of the space before it."""
        index = bisect_left(self._starts, position)
        start = self._starts[index]
        return index if start == position or self.chars[position:start] == " " else None

    def _is_within_number(self, index: int | None) -> bool:
        """Whether "1,234.5" goes on over the beginning of a token."""
        if not index or index >= len(self._spans):
            return False
        start = self._spans[index][0]
        around = self._text[max(start - 2, 0) : start + 2]
        return WITHIN_NUMBER.match(around) is not None


@lru_cache(maxsize=200_000)
def _normal(token: str) -> str:
    if token in IGNORED or (token[0] == "[" and len(token) > 1):
        return ""
    return "".join(unicodedata.normalize("NFKC", token).casefold().split())
