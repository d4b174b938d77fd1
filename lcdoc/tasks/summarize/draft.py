"""What a model wrote, made fit for use: without what small models put around it, and ended where it begins to loop."""

import re
from dataclasses import dataclass

from lcdoc.fusion.lexical import words_of
from lcdoc.tasks.summarize.sentences import cut_sentences

# A summary shorter than this tells nothing.
LEAST_WORDS = 4

# A sentence with fewer words that an earlier one lacks says the same again.
NEW_WORDS, LEAST_SENTENCE_WORDS = 2, 6

# So many words that come back in the same order at once are a loop: a phrase three times, or one word six.
MAX_PERIOD_WORDS = 24
TIMES, LEAST_LOOP_WORDS = 3, 6

BULLET = re.compile(r"^\s*(?:[-*\u2022\u2013]+|\(?\d{1,2}[.):])\s+")
OPENING = re.compile(
    r"^(?:(?:here|this|below) is (?:a|the) [^.:\n]{0,80}:|(?:in )?summary:|\**summary\**:?\n|answer:)\s*",
    re.IGNORECASE,
)
MARKUP = re.compile(r"\*\*|__|^#+\s+|^>+\s+", re.MULTILINE)
SENTENCE_END = re.compile(r"[.!?\u3002\uff01\uff1f][\"'\u2019\u201d)\]]*$")


@dataclass(frozen=True)
class Draft:
    """text: lines stay lines. cut: whether it was ended at its limit. looped: whether what was left out repeats what
    stands. invented: sentences that were left out because they name what their source doesn't."""

    text: str
    cut: bool
    looped: bool
    invented: int = 0

    @property
    def usable(self) -> bool:
        words = self.text.split()
        letters = sum(letter.isalpha() for letter in self.text)
        return len(words) >= LEAST_WORDS and letters > len("".join(words)) / 2 or _is_unspaced(self.text)

    @classmethod
    def of(cls, written: str, cut: bool, request: str = "") -> "Draft":
        """written: as the model wrote it; cut: whether it had more to say; request: what was asked, which small models
        say again."""
        text = OPENING.sub("", MARKUP.sub("", written).strip())
        kept, looped = without_loops(text, request)
        if cut and not looped:
            kept = whole_sentences(kept)
        return cls(kept.strip(), cut and not looped, looped)


def has_enough(written: str, words: int, request: str = "") -> bool:
    """Whether it has the words that were asked for and ends with a sentence, or began to loop."""
    if len(written.split()) >= words and SENTENCE_END.search(written.rstrip()):
        return True
    return without_loops(written, request)[1]


def without_loops(text: str, request: str = "") -> tuple[str, bool]:
    """The text up to where it begins to say again what it, or the request, has said, and whether it does."""
    seen = [set(words_of(request))]
    position = 0
    for line in text.splitlines(keepends=True):
        for sentence in cut_sentences(BULLET.sub("", line)):
            words = set(words_of(sentence))
            start = _find(text, sentence, position)
            if SENTENCE_END.search(sentence) and any(_says_again(words, earlier) for earlier in seen):
                return text[:start].rstrip(), True
            seen.append(words)
            position = start + 1
    return _without_phrases(text)


def whole_sentences(text: str) -> str:
    """Without the last sentence where it has no end, unless it is all there is."""
    ends = [end.end() for end in re.finditer(r"[.!?\u3002\uff01\uff1f][\"'\u2019\u201d)\]]*(?=\s|$)", text)]
    return text[: ends[-1]] if ends else text


def lines_of(text: str) -> list[str]:
    """The points of a list, each in one line without its mark."""
    lines = (" ".join(BULLET.sub("", line).split()) for line in text.splitlines())
    return [line for line in lines if any(letter.isalnum() for letter in line)]


def _says_again(words: set[str], earlier: set[str]) -> bool:
    return words == earlier or (len(words) >= LEAST_SENTENCE_WORDS and len(words - earlier) < NEW_WORDS)


def _find(text: str, sentence: str, start: int) -> int:
    """Where a sentence in one line begins in the text."""
    pattern = r"\s+".join(map(re.escape, sentence.split()))
    match = re.compile(pattern).search(text, start)
    return match.start() if match else start


def _without_phrases(text: str) -> tuple[str, bool]:
    words = list(re.finditer(r"\S+", text))
    tail = [word[0].casefold() for word in words]
    for period in range(1, min(MAX_PERIOD_WORDS, len(tail) // TIMES) + 1):
        times = max(TIMES, -(-LEAST_LOOP_WORDS // period))
        span = period * times
        for start in range(len(tail) - span + 1):
            if all(tail[start + i] == tail[start + i + period] for i in range(span - period)):
                return text[: words[start + period - 1].end()], True
    return text, False


def _is_unspaced(text: str) -> bool:
    """Chinese, Japanese and other scripts that put no spaces between words."""
    return len(re.findall("[\u3040-\u30ff\u3400-\u9fff\u0e00-\u0e7f]", text)) >= 2 * LEAST_WORDS


def without_known(draft: Draft, known: str) -> Draft:
    """Without sentences that stand in a known text already."""
    told = {sentence.casefold() for sentence in cut_sentences(known)}
    kept = [sentence for sentence in cut_sentences(draft.text) if sentence.casefold() not in told]
    text = " ".join(kept)
    if len(kept) == len(cut_sentences(draft.text)):
        return draft
    return Draft(text, draft.cut, looped=True, invented=draft.invented)
