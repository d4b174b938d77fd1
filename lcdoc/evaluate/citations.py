"""Whether the page is right that an answer's sentence is cited with: questions whose page is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcdoc.citations.sentences import sentences
from lcdoc.citations.source_text import Place
from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.cleaning import squeeze
from lcdoc.documents.document import Document
from lcdoc.evaluate.triple_suite import TriplesPlan, TripleSuite
from lcdoc.evaluate.triples import Triple
from lcdoc.tasks.answer import Citation
from lcdoc.tasks.ask import Reading, stop_ids_of
from lcdoc.tasks.progress import Observer

ANSWER_TOKENS = 48
# A page of more tokens than these is left out: on one that long a place says little.
PAGE_TOKENS = 600
THRESHOLDS = tuple(step / 20 for step in range(16))
# Of pages cited by attention, so many are to be right.
RIGHT_SHARE = 0.85


@dataclass(frozen=True)
class CitationCell:
    """One question. confidences, rights: of each sentence of the answer in words of its own, by attention, whatever the
    confidence. answered: whether the answer is right; of a wrong one nobody knows the page. dictated, dictated_right:
    the same of a right answer that the model was made to write. num_pages: read. quotes: citations that are
    verified; quotes_right: those whose words stand on the page that is named. evidence: see Support."""

    id: str
    num_pages: int
    answer: str
    answered: bool
    sentences: int
    confidences: tuple[float, ...]
    rights: tuple[bool, ...]
    dictated: float | None
    dictated_right: bool
    quotes: int
    quotes_right: int
    evidence: float


class CitationTest(TripleSuite[CitationCell]):
    """Sentences of answers, and of answers that the model is made to write."""

    def __init__(self, settings: ReadSettings, path: Path, folder: Path, plan: TriplesPlan) -> None:
        """As TripleSuite."""
        about = settings, path, folder, plan, PAGE_TOKENS
        super().__init__("citations", CitationCell, *about, max_new_tokens=ANSWER_TOKENS)

    def score(self) -> dict[str, Any]:
        return score(self.cells)

    def answered(
        self, triples: Sequence[Triple], document: Document, observer: Observer
    ) -> Iterator[CitationCell]:
        """Each by a reading of its own."""
        for triple in triples:
            yield self._ask(triple, document, observer)

    def _ask(self, triple: Triple, document: Document, observer: Observer) -> CitationCell:
        reading = Reading(
            [document],
            self._settings,
            max_new_tokens=ANSWER_TOKENS,
            questions=[triple.question],
            observer=observer,
            host=self._subject.host,
        )
        answer = reading.ask(triple.question, Sampling(max_new_tokens=ANSWER_TOKENS), lambda text: None)
        assert reading.attended is not None
        own = [sentence for sentence in sentences(answer.answer) if not sentence.quotes]
        found = [
            best
            for sentence in own
            if (best := reading.attended.best(sentence.start, sentence.start + len(sentence.text)))
        ]
        known = self._dictated(reading, triple)
        quotes = [citation for citation in answer.citations if citation.status == "verified"]
        said = answer.answer.casefold()
        return CitationCell(
            id=triple.id,
            num_pages=len(document.pages),
            answer=answer.answer,
            answered=any(right.casefold() in said for right in triple.answers),
            sentences=len(own),
            confidences=tuple(round(confidence, 4) for _, confidence in found),
            rights=tuple(place.first.number == triple.page for place, _ in found),
            dictated=round(known[1], 4) if known else None,
            dictated_right=known is not None and known[0].first.number == triple.page,
            quotes=len(quotes),
            quotes_right=sum(_stands(citation, document) for citation in quotes),
            evidence=round(answer.support.evidence, 4),
        )

    def _dictated(self, reading: Reading, triple: Triple) -> tuple[Place, float] | None:
        """What the model looks at while it is made to write a right answer."""
        ids = iter(self._subject.prompt.plain_ids(triple.answers[0]))
        stop_id = next(iter(stop_ids_of(self._subject.model, self._subject.tokenizer)))
        reading.ask(
            triple.question,
            Sampling(max_new_tokens=ANSWER_TOKENS),
            lambda text: None,
            pick=lambda logits: next(ids, stop_id),
        )
        assert reading.attended is not None
        return reading.attended.best(0, len(triple.answers[0]))


def score(cells: Sequence[CitationCell]) -> dict[str, Any]:
    """For each threshold how many sentences whose page is known are cited, and how many of these with it: those of
    right answers, and right answers that were dictated. threshold: the lowest one from which enough are right; None
    where none is. Documents of one page tell nothing and don't count."""
    several = [cell for cell in cells if cell.num_pages > 1]
    own = [
        pair for cell in several if cell.answered for pair in zip(cell.confidences, cell.rights, strict=True)
    ]
    dictated = [(cell.dictated, cell.dictated_right) for cell in several if cell.dictated is not None]
    by_threshold = [
        {"threshold": threshold, "own": _count(own, threshold), "dictated": _count(dictated, threshold)}
        for threshold in THRESHOLDS
    ]
    enough = [
        threshold
        for threshold in THRESHOLDS
        if (total := _count(own + dictated, threshold))["cited"]
        and total["right"] >= RIGHT_SHARE * total["cited"]
    ]
    return {
        "own_sentences": len(own),
        "dictated_sentences": len(dictated),
        "by_threshold": by_threshold,
        "threshold": min(enough, default=None),
        "quotes": sum(cell.quotes for cell in cells),
        "quotes_right": sum(cell.quotes_right for cell in cells),
        "answered": sum(cell.answered for cell in cells),
    }


def _stands(citation: Citation, document: Document) -> bool:
    """Whether the words stand on the page that is named, or go on from there."""
    first, last = citation.page or 0, citation.last_page or citation.page or 0
    there = " ".join(page.text for page in document.pages if first <= page.number <= last)
    return squeeze(citation.quote).casefold() in squeeze(there).casefold()


def _count(pairs: Sequence[tuple[float, bool]], threshold: float) -> dict[str, int]:
    rights = [right for confidence, right in pairs if confidence >= threshold]
    return {"cited": len(rights), "right": sum(rights)}
