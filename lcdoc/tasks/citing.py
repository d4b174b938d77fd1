"""From the claims of an answer to its citations, and to the sentences that they support."""

from collections.abc import Sequence

from lcdoc.citations.claim import Claim
from lcdoc.tasks.answer import Citation


def citations_of(claims: Sequence[Claim]) -> tuple[Citation, ...]:
    """Every quotation once, and every sentence that is the source's own. What is wrong with a sentence around its
    quotations is said of each of them."""
    found: dict[str, Citation] = {}
    for claim in claims:
        if _is_quoted(claim) and claim.words not in found:
            flags = [flag for other in claims if _surrounds(other, claim) for flag in _flags(other)]
            found[claim.words] = _citation(claim, tuple(dict.fromkeys((*_flags(claim), *flags))))
    return tuple(found.values())


def _is_quoted(claim: Claim) -> bool:
    return claim.kind == "quote" or claim.status == "verified"


def _surrounds(sentence: Claim, quote: Claim) -> bool:
    end = sentence.start + len(sentence.words)
    return sentence.kind == "sentence" and sentence is not quote and sentence.start <= quote.start < end


def _flags(claim: Claim) -> tuple[str, ...]:
    return () if claim.status == "unverified" else (*claim.problems, *claim.notes)


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
    )
