"""Holds an answer against its documents: each quotation, and each sentence that says something to check."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from lcdoc.citations.claim import Claim
from lcdoc.citations.figures import figures, values
from lcdoc.citations.names import names
from lcdoc.citations.page_reference import PageReference, page_references
from lcdoc.citations.passage_index import Passage, PassageIndex, Span
from lcdoc.citations.quotations import MIN_QUOTE_CHARS, Quotation
from lcdoc.citations.quote_match import QuoteMatch, align, match_quote
from lcdoc.citations.sentences import Sentence, blanked, sentences
from lcdoc.citations.source_text import Place, SourceText
from lcdoc.citations.wording import AT_LEAST, Change, changes, words_of
from lcdoc.documents.document import Document

# A sentence follows the source's wording where it shares this much of so many words, half of its own at least.
FOLLOWS, MIN_FOLLOWING_WORDS, MAX_FOLLOWING_WORDS = 0.7, 6, 400
# A page that has less than this share of what the best passage has of a sentence is not the one that is meant.
MIN_SHARE_OF_BEST = 0.6
# Below, no passage has enough of a sentence to say where it stands.
MIN_COVERAGE = 0.4
NUM_PASSAGES, WIDER_WORDS = 5, 30
AROUND_WORDS = 20
# Words of questions that say nothing of what is asked for.
ASKING = re.compile(
    r"what|which|whom?|whose|when|where|why|how|many|much|is|are|was|were|does|do|did|the|an?|of|in|on|at|to|by|for|from|"
    r"with|and|or|that|this|its?|be|been|as|into|than|have|has|had"
)
EMPTY_BRACKETS = re.compile(r"[(\[][\s,;]*[)\]]")


class Checker:
    """Documents, indexed once, against which any number of answers are checked."""

    def __init__(self, documents: Sequence[Document]) -> None:
        self._sources = [SourceText(document) for document in documents]
        self._index = PassageIndex(self._sources)
        self._match = lru_cache(maxsize=4096)(self._match_quote)

    def claims(self, answer: str) -> list[Claim]:
        """Everything in the order of the answer; footnotes last."""
        return [claim for sentence in sentences(answer) for claim in self._of_sentence(sentence)]

    def missing_at(self, words: str, place: Place) -> tuple[str, ...]:
        """The figures and names of a sentence that the words of a place don't have, a phrase each."""
        rest = _without(words, page_references(words, self._sources))
        there, text = values(place.words), place.words.casefold()
        absent = [figure.words for figure in figures(rest) if figure.value not in there]
        absent += [name for name in names(rest) if name.casefold() not in text]
        return tuple(f"{word} is not there" for word in dict.fromkeys(absent))

    def nearest(self, question: str, num_places: int) -> list[tuple[float, Place]]:
        """The passages that have most of a question's words, best first, each with the share that it has of them, rare
        ones above all; 0 to 1."""
        words = [word for word in words_of(question) if not ASKING.fullmatch(word)]
        passages = self._index.best(words, NUM_PASSAGES)
        found = [
            (self._index.coverage(words, passage.wider(AROUND_WORDS, AROUND_WORDS)), passage.span)
            for passage in passages
        ]
        found.sort(key=lambda pair: -pair[0])
        return [(share, source.place(start, end)) for share, (source, start, end) in found[:num_places]]

    def _of_sentence(self, sentence: Sentence) -> Iterator[Claim]:
        bare = sentence.bare
        references = page_references(bare, self._sources)
        for note in sentence.notes:
            references += [
                replace(reference, start=len(bare), end=len(bare))
                for reference in page_references(note, self._sources)
            ]
        missing = [f"there is no {reference.words}" for reference in references if not reference.pages]
        quotes = [
            self._of_quote(quote, _references_of(quote, sentence, references)) for quote in sentence.quotes
        ]
        rest = _without(bare, references)
        if quotes:
            quotes[0] = replace(quotes[0], problems=(*quotes[0].problems, *missing))
            yield from quotes
            if not sentence.is_note and (claim := self._beside_quotes(sentence, rest, quotes, references)):
                yield claim
        elif not sentence.is_note:
            claim = self._of_own_words(sentence, rest, references)
            if missing:
                problems = (*missing, *claim.problems)
                claim = replace(claim, status="unsupported", problems=problems)
            yield claim

    def _of_quote(self, quote: Quotation, references: Sequence[PageReference]) -> Claim:
        pages = frozenset(_numbers(references))
        found = self._match(quote.words, pages)
        problems = [_difference(change) for change in found.changes]
        if found.status == "unverified":
            problems.append("not found in the documents")
        elif pages and found.place is not None and not _is_on(found.place, pages):
            named = ", ".join(reference.words for reference in references if reference.pages)
            problems.append(f"stands elsewhere than {named}")
        return Claim("quote", quote.words, quote.start, found.status, found.place, tuple(problems))

    def _match_quote(self, words: str, pages: frozenset[tuple[str, int]]) -> QuoteMatch:
        return match_quote(words, self._sources, self._index, lambda place: _is_on(place, pages))

    def _beside_quotes(
        self, sentence: Sentence, rest: str, quotes: list[Claim], references: list[PageReference]
    ) -> Claim | None:
        """What a sentence says in its own words around its quotations."""
        places = [claim.place for claim in quotes if claim.place is not None]
        if not places or not (figures(rest) or names(rest)):
            return None
        spans = [*_spans(references), *(span for place in places for span in self._pages_around(place))]
        problems = self._missing_figures(rest, spans)
        unknown, notes = self._names(rest, spans)
        status = "unsupported" if problems or unknown else "supported"
        return Claim(
            "sentence", sentence.text, sentence.start, status, places[0], (*problems, *unknown), tuple(notes)
        )

    def _of_own_words(self, sentence: Sentence, rest: str, references: list[PageReference]) -> Claim:
        claim = Claim("sentence", sentence.text, sentence.start, "unchecked")
        words, spans, pages = words_of(rest), _spans(references), frozenset(_numbers(references))
        if len(" ".join(words)) < MIN_QUOTE_CHARS:
            return claim
        whole = self._match(" ".join(rest.split()), pages)
        if whole.status == "verified" and whole.place is not None:
            wrong = pages and not _is_on(whole.place, pages)
            elsewhere_only = ("stands on another page",) if wrong else ()
            return replace(claim, status="verified", place=whole.place, problems=elsewhere_only)
        best = self._index.best(words, NUM_PASSAGES)
        named = self._index.best(words, NUM_PASSAGES, spans) if spans else []
        follows = self._followed(words, named, pages)
        elsewhere = None if follows else self._followed(words, best)
        place, found_changes = follows or elsewhere or (self._place(words, named or best), [])
        problems = [_difference(change) for change in found_changes if change.beside >= AT_LEAST]
        if not (follows or elsewhere or figures(rest) or references):
            return claim
        if spans and not follows and (elsewhere or not self._has_most(words, named, best)):
            problems.append("stands on another page")
            place = place if elsewhere else self._place(words, best)
        if not problems:
            problems = self._missing_figures(rest, spans or self._near(words, best, place))
        unknown, notes = self._names(rest, spans)
        has_support = bool(figures(rest) or references)
        status = "unsupported" if problems or unknown else "supported" if has_support else "unchecked"
        return replace(claim, status=status, place=place, problems=(*problems, *unknown), notes=tuple(notes))

    def _followed(
        self, words: list[str], passages: Sequence[Passage], pages: frozenset[tuple[str, int]] = frozenset()
    ) -> tuple[Place, list[Change]] | None:
        """The place, on one of the pages if any are given, whose wording a sentence follows, and where it says
        something else."""
        if not MIN_FOLLOWING_WORDS <= len(words) <= MAX_FOLLOWING_WORDS:
            return None
        found = []
        for passage in passages:
            score, aligned = align(words, passage)
            if aligned is None:
                continue
            source, start, end = aligned.span
            place = source.place(start, end)
            differing, length, share = changes(words, aligned.wider(1, 1).texts)
            follows = share >= FOLLOWS and length >= max(MIN_FOLLOWING_WORDS, len(words) / 2)
            if follows and (not pages or _is_on(place, pages)):
                found.append((length * share, score, place, differing))
        if not found:
            return None
        _, _, place, differing = max(found, key=lambda one: one[:2])
        return place, [change for change in differing if change.negates or change.changes_figure]

    def _has_most(self, words: list[str], named: Sequence[Passage], best: Sequence[Passage]) -> bool:
        """Whether the pages that are named have about as much of the words as any."""
        most = max((self._index.coverage(words, passage) for passage in best), default=0.0)
        there = max((self._index.coverage(words, passage) for passage in named), default=0.0)
        return most < MIN_COVERAGE or there >= MIN_SHARE_OF_BEST * most

    def _place(self, words: list[str], passages: Sequence[Passage]) -> Place | None:
        if not passages:
            return None
        source, start, end = max(passages, key=lambda passage: self._index.coverage(words, passage)).span
        return source.place(start, end)

    def _near(self, words: list[str], best: Sequence[Passage], place: Place | None) -> list[Span]:
        """The passages that a sentence without a page may speak of."""
        plain = [word for word in words if not word[0].isdigit()]
        covered = [(self._index.coverage(plain, passage), passage) for passage in best]
        most = max((share for share, _ in covered), default=0.0)
        return [
            passage.wider(WIDER_WORDS, WIDER_WORDS).span for share, passage in covered if share >= 0.8 * most
        ]

    def _missing_figures(self, text: str, spans: Sequence[Span]) -> list[str]:
        there = set().union(*(values(source.text[start:end]) for source, start, end in spans))
        missing = [figure.words for figure in figures(text) if figure.value not in there]
        return [f"{words} is not there" for words in dict.fromkeys(missing)]

    def _names(self, text: str, spans: Sequence[Span]) -> tuple[list[str], list[str]]:
        """Names that stand nowhere, and those that stand elsewhere than in the spans."""
        there = " ".join(source.text[start:end] for source, start, end in spans).casefold()
        unknown, elsewhere = [], []
        for name in names(text):
            if not self._index.knows(words_of(name)[0]):
                unknown.append(f"{name} stands nowhere in the documents")
            elif spans and name.casefold() not in there:
                elsewhere.append(f"{name} is not on the page")
        return unknown, elsewhere

    def _pages_around(self, place: Place) -> Iterator[Span]:
        source = next(source for source in self._sources if source.document is place.document)
        for number in place.pages:
            span = source.span_of(number)
            if span is not None:
                yield source, *span


def _references_of(
    quote: Quotation, sentence: Sentence, references: list[PageReference]
) -> list[PageReference]:
    """Those between the quotation and the next one; where there are none, all of the sentence."""
    later = [other.start for other in sentence.quotes if other.start > quote.start]
    end = min(later, default=sentence.start + len(sentence.text) + 1)
    own = [reference for reference in references if quote.end <= reference.start + sentence.start < end]
    return own or references


def _without(text: str, references: Sequence[PageReference]) -> str:
    text = blanked(text, ((reference.start, reference.end) for reference in references))
    return EMPTY_BRACKETS.sub(lambda match: " " * len(match[0]), text)


def _numbers(references: Sequence[PageReference]) -> Iterator[tuple[str, int]]:
    for reference in references:
        for source, page in reference.pages:
            yield source.document.source, page.number


def _spans(references: Sequence[PageReference]) -> list[Span]:
    spans = {}
    for reference in references:
        for source, page in reference.pages:
            if span := source.span_of(page.number):
                spans[id(source), page.number] = (source, *span)
    return list(spans.values())


def _is_on(place: Place, pages: frozenset[tuple[str, int]]) -> bool:
    return any((place.document.source, number) in pages for number in place.pages)


def _difference(change: Change) -> str:
    ours, theirs = " ".join(change.answer), " ".join(change.source)
    if not ours:
        return f'leaves out "{theirs}"'
    return f'"{ours}" is "{theirs}" in the source' if theirs else f'"{ours}" is not in the source'
