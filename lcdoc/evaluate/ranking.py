"""How high the passages of the right page rank when a document is read in parts, by each judge and by all together."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document
from lcdoc.evaluate.triple_suite import TriplesPlan, TripleSuite
from lcdoc.evaluate.triples import Triple
from lcdoc.fusion.ranking import fuse, ranks_of
from lcdoc.tasks.parts_reading import PartsReading
from lcdoc.tasks.progress import Observer

# Each judge alone, the two that judge every passage, and all three: what is read again goes by these.
JUDGES = ("attention", "words", "likelihood", "without_likelihood", "together")
ANSWER_TOKENS = 64


@dataclass(frozen=True)
class RankingCell:
    """One question. ranks: by judge, of the best passage of the right page among num_passages; None where the judge
    finds nothing in it. reread: whether that page, or some of it, was read again for the answer. answered: whether the
    answer is right. sweep_s: what reading all parts and judging took, for all questions to the same pages so far."""

    id: str
    num_passages: int
    ranks: dict[str, int | None]
    reread: bool
    answer: str
    answered: bool
    sweep_s: float


class RankingTest(TripleSuite[RankingCell]):
    """Documents read in parts, each for one question."""

    def __init__(self, settings: ReadSettings, path: Path, folder: Path, plan: TriplesPlan) -> None:
        """As TripleSuite."""
        super().__init__("ranking", RankingCell, settings, path, folder, plan)

    def score(self) -> dict[str, Any]:
        return score(self.cells)

    def answered(
        self, triples: Sequence[Triple], document: Document, observer: Observer
    ) -> Iterator[RankingCell]:
        """All of one reading."""
        reading = PartsReading(
            [document],
            self._settings,
            max_new_tokens=ANSWER_TOKENS,
            questions=[triple.question for triple in triples],
            observer=observer,
            host=self._subject.host,
        )
        for triple in triples:
            ranks = _ranks(reading, triple)
            answer = reading.ask(triple.question, Sampling(max_new_tokens=ANSWER_TOKENS), lambda text: None)
            said = answer.answer.casefold()
            yield RankingCell(
                id=triple.id,
                num_passages=len(reading.spans),
                ranks=ranks,
                reread=any(part.page == triple.page for part in answer.receipt.pages_reread),
                answer=answer.answer,
                answered=any(right.casefold() in said for right in triple.answers),
                sweep_s=round(reading.sweep_s, 1),
            )


def _ranks(reading: PartsReading, triple: Triple) -> dict[str, int | None]:
    """By judge, that of the best passage of the right page."""
    judged = reading.judge(triple.question)
    scores = (
        judged.attention,
        judged.words,
        judged.likelihood or [0.0] * len(reading.spans),
        fuse(judged.attention, judged.words),
        judged.scores,
    )
    pages = [span.page.page.number for span in reading.spans]
    return {
        judge: min(
            (rank for rank, page in zip(ranks_of(own), pages, strict=True) if rank and page == triple.page),
            default=None,
        )
        for judge, own in zip(JUDGES, scores, strict=True)
    }


def score(cells: Sequence[RankingCell]) -> dict[str, Any]:
    """By judge: the mean of 1 / rank, 0 for no rank, and how often the right page is first and among the first three
    and six. And how often it was read again, and the answer right."""
    ranks = {judge: [cell.ranks[judge] for cell in cells] for judge in JUDGES}
    by_judge = {
        judge: {
            "mean_reciprocal_rank": round(sum(1 / rank for rank in own if rank) / max(len(own), 1), 4),
            **{f"first_{most}": sum(rank is not None and rank <= most for rank in own) for most in (1, 3, 6)},
        }
        for judge, own in ranks.items()
    }
    reread, answered = sum(cell.reread for cell in cells), sum(cell.answered for cell in cells)
    return {"judges": by_judge, "reread": reread, "answered": answered}
