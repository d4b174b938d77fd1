"""From an answer's claims to its citations, and to the sentences that the documents support."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

from lcdoc.citations.checker import Checker
from lcdoc.citations.claim import Claim
from lcdoc.citations.sentences import Sentence, sentences
from lcdoc.citations.source_text import Place
from lcdoc.tasks.answer import Citation, Passage, Support

NUM_NEAREST = 3
# Of the questions in tests/data/triples.jsonl 6% have less evidence in their own documents, and 93% in two others each.
MIN_EVIDENCE = 0.3


class Attention(Protocol):
    """What an answer's characters start..stop-1 come from, with a confidence; None for no answer."""

    def place(self, start: int, stop: int) -> tuple[Place, float] | None: ...


def judge(
    question: str, answer: str, checker: Checker, attention: Attention | None
) -> tuple[tuple[Citation, ...], Support]:
    """An answer's citations, and which of its sentences are supported."""
    claims = checker.claims(answer)
    if attention is not None:
        claims = attend(claims, answer, checker, attention)
    return citations_of(claims), _support(question, answer, claims, checker)


def attend(claims: Sequence[Claim], answer: str, checker: Checker, attention: Attention) -> list[Claim]:
    """The claims, those of sentences without a quote with the passage that they come from."""
    quoted = {sentence.start for sentence in sentences(answer) if sentence.quotes or sentence.is_note}
    found = []
    for claim in claims:
        is_own = claim.kind == "sentence" and claim.status != "verified" and claim.start not in quoted
        place = attention.place(claim.start, claim.start + len(claim.words)) if is_own else None
        if place is not None:
            absent = checker.missing_at(claim.words, place[0])
            claim = replace(
                claim,
                status="attended",
                place=place[0],
                problems=tuple(dict.fromkeys((*claim.problems, *absent))),
                confidence=place[1],
            )
        found.append(claim)
    return found


def citations_of(claims: Sequence[Claim]) -> tuple[Citation, ...]:
    """Every quotation once, every sentence that is the source's own, and every one with a passage that it comes from.
    What is wrong with a sentence around its quotations is said of each of them."""
    found: dict[str, Citation] = {}
    for claim in claims:
        if _is_cited(claim) and claim.words not in found:
            flags = [flag for other in claims if _surrounds(other, claim) for flag in _flags(other)]
            found[claim.words] = _citation(claim, tuple(dict.fromkeys((*_flags(claim), *flags))))
    return tuple(found.values())


def _support(question: str, answer: str, claims: Sequence[Claim], checker: Checker) -> Support:
    supported: list[str] = []
    unsupported: list[str] = []
    for sentence in sentences(answer):
        if not sentence.is_note:
            own = [claim for claim in claims if _is_within(claim, sentence)]
            holds = any(claim.supported for claim in own) and not any(claim.problems for claim in own)
            (supported if holds else unsupported).append(sentence.text)
    nearest = checker.nearest(question, NUM_NEAREST)
    evidence = nearest[0][0] if nearest else 0.0
    quotes = any(claim.supported and claim.status != "attended" for claim in claims)
    return Support(
        supported=tuple(supported),
        unsupported=tuple(unsupported),
        evidence=evidence,
        said=evidence >= MIN_EVIDENCE or quotes,
        nearest=tuple(_passage(place, share) for share, place in nearest),
    )


def _is_within(claim: Claim, sentence: Sentence) -> bool:
    return sentence.start <= claim.start < sentence.start + len(sentence.text)


def _is_cited(claim: Claim) -> bool:
    return claim.kind == "quote" or claim.status in ("verified", "attended")


def _surrounds(sentence: Claim, quote: Claim) -> bool:
    end = sentence.start + len(sentence.words)
    return sentence.kind == "sentence" and sentence is not quote and sentence.start <= quote.start < end


def _flags(claim: Claim) -> tuple[str, ...]:
    return () if claim.status == "unverified" else (*claim.problems, *claim.notes)


def _passage(place: Place, share: float) -> Passage:
    page, document = place.first, place.document
    return Passage(document.source, page.number, page.label, document.unit, place.words, share)


def _citation(claim: Claim, flags: tuple[str, ...]) -> Citation:
    place = claim.place
    if place is None:
        return Citation(None, None, None, claim.words, claim.status, flags=flags)
    return Citation(
        source=place.document.source,
        page=place.first.number,
        label=place.first.label,
        quote=claim.words,
        status=claim.status,
        unit=place.document.unit,
        last_page=place.last.number,
        source_words=place.words,
        flags=flags,
        confidence=claim.confidence,
    )
