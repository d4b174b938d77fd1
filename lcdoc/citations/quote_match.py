"""Where a quotation stands: to the letter, but for its typography, or nearly."""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, islice

from lcdoc.citations.normal_text import NormalText
from lcdoc.citations.passage_index import Passage, PassageIndex
from lcdoc.citations.source_text import Place, SourceText
from lcdoc.citations.wording import MAX_CHANGE_WORDS, Change, changes, words_of

# "[...]", ". . .", or the writer's own word in the source's: what may stand for left out words.
GAP = re.compile(r"\s*(?:\[\s*(?:\.\s?){3,4}\]|(?:\.\s?){3,4}|\[?\u2026\]?|\[[^\[\]\n]{2,60}\])\s*")
ONE_LETTER = re.compile(r"\[(\w)\]")  # "[T]he"
EDGES = ".,;:!?-"
MAX_GAP_CHARS = 1_500
MAX_OCCURRENCES = 200
# A quotation is aligned by so much of it; more is not needed to find it.
MAX_ALIGNED_CHARS = 600
NUM_CANDIDATES = 6
# Of 100: below, words are alike by chance. Short quotations need more.
MIN_SCORE, MIN_SHORT_SCORE, SHORT_CHARS = 78, 86, 30


@dataclass(frozen=True)
class QuoteMatch:
    """status: "verified" (to the letter, or but for typography), "repaired" (nearly; place has the source's own words,
    changes how the quotation's differ) or "unverified", which has no place."""

    status: str
    place: Place | None = None
    changes: tuple[Change, ...] = ()


def match_quote(
    words: str,
    sources: Sequence[SourceText],
    index: PassageIndex,
    prefers: Callable[[Place], bool] = lambda place: True,
) -> QuoteMatch:
    """prefers: of several places of the same words, which one is meant."""
    places = list(islice(_places(words, sources), MAX_OCCURRENCES))
    if places:
        exact = [place for place in places if place.words == words]
        meant = next((place for place in (*exact, *places) if prefers(place)), None)
        return QuoteMatch("verified", meant or (exact or places)[0])
    return _repaired(words, index, prefers)


def _places(words: str, sources: Sequence[SourceText]) -> Iterator[Place]:
    """Every place of the words, else every place of their pieces, in order, with gaps between them."""
    words = ONE_LETTER.sub(r"\1", words)
    whole = _chars(words)
    found = False
    for source in sources:
        for span in source.occurrences(whole):
            found = True
            yield source.place(*span)
    pieces = [chars for piece in GAP.split(words) if (chars := _chars(piece))]
    if found or len(pieces) < 2 or max(map(len, pieces)) < 8:
        return
    for source in sources:
        for start, end in islice(source.occurrences(pieces[0]), MAX_OCCURRENCES):
            last = _follow(source.normal, source.normal.position(end), pieces[1:])
            if last is not None:
                yield source.place(start, source.normal.original(0, last)[1])


def _follow(normal: NormalText, position: int, pieces: Sequence[str]) -> int | None:
    """Where the last of the pieces ends, each soon after the one before."""
    for piece in pieces:
        found = normal.find(piece, position)
        if found is None or found[0] - position > MAX_GAP_CHARS:
            return None
        position = found[1]
    return position


def _chars(words: str) -> str:
    return NormalText(words).chars.strip(EDGES)


def _repaired(words: str, index: PassageIndex, prefers: Callable[[Place], bool]) -> QuoteMatch:
    quoted = words_of(GAP.sub(" ", ONE_LETTER.sub(r"\1", words)))
    best: tuple[float, bool, Place, Passage] | None = None
    for passage in index.best(quoted, NUM_CANDIDATES):
        score, found = align(quoted, passage)
        if found is not None:
            source, start, end = found.span
            place = source.place(start, end)
            if best is None or (score, prefers(place)) > best[:2]:
                best = score, prefers(place), place, found
    is_short = sum(map(len, quoted)) < SHORT_CHARS
    if best is None or best[0] < (MIN_SHORT_SCORE if is_short else MIN_SCORE):
        return QuoteMatch("unverified")
    found_changes, _, _ = changes(quoted, best[3].texts)
    return QuoteMatch(
        "repaired", best[2], tuple(change for change in found_changes if change.answer or change.source)
    )


def align(words: Sequence[str], passage: Passage) -> tuple[float, Passage | None]:
    """The words in or around a passage that are most like these, and how much, up to 100."""
    from rapidfuzz.fuzz import partial_ratio_alignment, ratio

    near = passage.wider(len(words), len(words))
    sought, there = " ".join(words), " ".join(near.texts)
    found = partial_ratio_alignment(sought[:MAX_ALIGNED_CHARS], there)
    if found is None or found.dest_end <= found.dest_start or len(sought) > len(there):
        return 0.0, None
    starts = [0, *accumulate(len(word) + 1 for word in near.texts)]
    first = bisect_right(starts, found.dest_start) - 1
    last = bisect_left(starts, found.dest_end)
    if len(sought) > MAX_ALIGNED_CHARS:
        last = min(first + len(words), len(near.texts))
    found_words = Passage(near.words, near.start + first, near.start + last)
    aligned = _trimmed(words, found_words.wider(MAX_CHANGE_WORDS, MAX_CHANGE_WORDS))
    return ratio(sought, " ".join(aligned.texts)), aligned


def _trimmed(words: Sequence[str], passage: Passage) -> Passage:
    """Without what lies before the first word that is the same, less the words before it, and so behind the last."""
    from rapidfuzz.distance import LCSseq

    same = [code for code in LCSseq.opcodes(words, passage.texts) if code.tag == "equal"]
    if not same:
        return passage
    start = max(same[0].dest_start - same[0].src_start, 0)
    end = same[-1].dest_end + len(words) - same[-1].src_end
    return Passage(passage.words, passage.start + start, min(passage.start + end, passage.end))
