"""A summary as it is handed back: plain data, ready to print or to serialise."""

from dataclasses import asdict, dataclass, field
from typing import Any

from lcdoc.tasks.answer import MemoryUse, ModelInfo, PlanSummary, Timing, UnreadPage

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Place:
    """A run of a document's pages; page numbers count from 1 in the file, labels are the pages' own names."""

    source: str
    first_page: int
    last_page: int
    first_label: str
    last_label: str


@dataclass(frozen=True)
class Evidence:
    """A sentence of the document, word for word but for white space, that bears out what a summary says."""

    source: str
    page: int
    label: str
    quote: str


@dataclass(frozen=True)
class Section:
    """A paragraph, a point or a chapter's summary, and the pages that it was made from.

    title: the chapter's. written_by: "model", or "document" where the model wrote nothing of use and the document's own
    sentences stand instead. evidence: empty where no sentence bears out what the model wrote.
    """

    title: str | None
    text: str
    written_by: str
    source: str
    first_page: int
    last_page: int
    first_label: str
    last_label: str
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Coverage:
    """Which stretches of the document the summary speaks of: those that a section of it quotes as evidence, or shares
    rare words with. missing: the others."""

    stretches: int
    represented: int
    share_of_tokens: float
    missing: tuple[Place, ...]


@dataclass(frozen=True)
class SummaryReceipt:
    """How the documents were read for the summary.

    exact: every page asked for was read, at once, nothing was approximated, and the model wrote all of it. method:
    "exact", "parts" (each summarized by itself), "hierarchical" or "incremental". levels: how many times summaries were
    merged, one above the other. parts, merges: texts that were summarized. parts_together: of the parts, how many were
    written about at the same time. replaced: how often the document's own
    sentences stand for what the model wrote. resumed: texts taken from an earlier run. unsupported: sections without
    evidence. pages_total, pages_unread and notes are as in an answer's receipt.
    """

    exact: bool
    method: str
    tokens_total: int
    tokens_read: int
    pages_total: int
    pages_read: int
    pages_unread: tuple[UnreadPage, ...]
    kv_dtype: str
    parts: int
    parts_together: int
    part_tokens: int
    levels: int
    merges: int
    replaced: int
    resumed: int
    unsupported: int
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """finish_reason: "stop" (the model ended all that it wrote, or had written enough), or "length" (a section of it
    was ended at its limit, after its last whole sentence)."""

    summary: str
    style: str
    focus: str | None
    sections: tuple[Section, ...]
    coverage: Coverage
    complete: bool
    finish_reason: str
    receipt: SummaryReceipt
    plan: PlanSummary
    memory: MemoryUse
    timing: Timing
    model: ModelInfo
    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
