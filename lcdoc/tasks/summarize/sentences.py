"""Sentences of a document: cut from its pages, matched with what a summary says, or chosen to stand for it."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lcdoc.documents.document import Page
from lcdoc.fusion.lexical import WordIndex, words_of

# After these a full stop ends no sentence; nor does it after a single letter.
ABBREVIATION = re.compile(
    "mr|mrs|ms|dr|prof|st|mt|nos?|vol|figs?|eq|sec|ch|pp|cf|vs|jr|sr|gen|col|z|bzw|ca|nr", re.IGNORECASE
)
END = re.compile(r"[.!?]+[\"'\u2019\u201d)\]]*(?=\s)|[\u3002\uff01\uff1f]+|\n\s*\n")
LAST_WORD = re.compile(r"(\w+)\.$")

# Shorter ones bear nothing out, longer ones are lists or tables.
MIN_WORDS, MAX_WORDS = 5, 60

# So many words must be shared, and so many of them be rare in the text, or nearly all be shared.
SHARED_WORDS, RARE_WORDS = 3, 2
SAME_SHARE = 0.7

# Rare words stand in no more of the texts.
RARE_SHARE, RARE_COUNT = 0.05, 3


@dataclass(frozen=True)
class Sentence:
    """page: where it begins; None where that is of no account. text: in one line."""

    page: Page | None
    text: str


def cut_sentences(text: str) -> list[str]:
    """In one line each."""
    sentences, start = [], 0
    for end in END.finditer(text):
        head = text[start : end.end()].rstrip()
        last = LAST_WORD.search(head)
        if last and text[end.end() :].strip() and (len(last[1]) == 1 or ABBREVIATION.fullmatch(last[1])):
            continue
        sentences.append(" ".join(head.split()))
        start = end.end()
    return [sentence for sentence in (*sentences, " ".join(text[start:].split())) if sentence]


def sentences_of(pages: Iterable[Page]) -> list[Sentence]:
    """Those of a length that can bear something out."""
    return [
        Sentence(page, text)
        for page in pages
        for text in cut_sentences(page.text)
        if MIN_WORDS <= len(text.split()) <= MAX_WORDS
    ]


def find_evidence(text: str, sentences: Sequence[Sentence], most: int) -> list[Sentence]:
    """For each sentence of a text the one that matches it best, where any does; at most so many, in order."""
    texts = [sentence.text for sentence in sentences]
    rare = rare_words(texts, max(RARE_COUNT, RARE_SHARE * len(texts)))
    index, found = WordIndex(texts), dict[int, float]()
    for claim in cut_sentences(text):
        scores = index.scores(claim)
        if not scores:
            break
        best = max(range(len(scores)), key=scores.__getitem__)
        said = set(words_of(claim))
        shared = said & set(words_of(texts[best]))
        same = len(shared) >= SAME_SHARE * len(said)
        if len(shared) >= SHARED_WORDS and (same or len(shared & rare) >= RARE_WORDS):
            found[best] = max(found.get(best, 0.0), scores[best])
    strongest = sorted(found, key=found.__getitem__, reverse=True)[:most]
    return [sentences[index] for index in sorted(strongest)]


def rare_words(texts: Sequence[str], most: float) -> set[str]:
    """Words that stand in no more of the texts."""
    counts = Counter(word for text in texts for word in set(words_of(text)))
    return {word for word, count in counts.items() if count <= most}


def choose_sentences(sentences: Sequence[Sentence], focus: str | None, max_words: int) -> list[Sentence]:
    """Those that tell most of the whole, or of the focus, in order; one at least where there is any."""
    texts = [sentence.text for sentence in sentences]
    words = WordIndex(texts)
    central = words.scores(" ".join(texts))
    central = [value / math.sqrt(len(words_of(text)) + 1) for value, text in zip(central, texts, strict=True)]
    focused = words.scores(focus) if focus else [0.0] * len(texts)
    ranked = sorted(range(len(texts)), key=lambda index: (focused[index], central[index]), reverse=True)
    chosen: list[int] = []
    room = max_words
    for index in ranked:
        room -= len(texts[index].split())
        if chosen and room < 0:
            break
        chosen.append(index)
    return [sentences[index] for index in sorted(chosen)]
