"""One claim of an answer, and what the documents say of it."""

from dataclasses import dataclass

from lcdoc.citations.source_text import Place

SUPPORTED = ("verified", "repaired", "supported", "attended")


@dataclass(frozen=True)
class Claim:
    """Words of the answer and what the documents say of them.

    kind: "quote" or "sentence". status of a quote: "verified", "repaired" or "unverified"; of a sentence: "verified"
    (it is the source's own), "supported" (its figures and pages are), "unsupported", "attended" (its place is where the
    model looked while it wrote, with so much confidence, 0 to 1) or "unchecked" (it has nothing that can be checked
    without understanding it). problems: what is wrong with it, a phrase each. notes: what a reader
    may want to look at. start: in the answer.
    """

    kind: str
    words: str
    start: int
    status: str
    place: Place | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    confidence: float | None = None

    @property
    def supported(self) -> bool:
        return self.status in SUPPORTED and not self.problems
