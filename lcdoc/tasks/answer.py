"""What a task hands back: plain data, ready to print or to serialise."""

from dataclasses import asdict, dataclass, field
from typing import Any

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Citation:
    """Words of the answer and where they stand; source, page and label are None for a quote found nowhere.

    status: "verified" (to the letter, or but for typography), "repaired" (nearly), "unverified", or "attended" for a
    sentence without a quote: the passage that the model looked at while it wrote it, with a confidence from 0 to 1.
    unit: what a page is called. last_page: where the words go on over a page's end. source_words: as the source has
    them. flags: how a repaired quote differs, and which figures and names of its sentence the source doesn't have
    there.
    """

    source: str | None
    page: int | None
    label: str | None
    quote: str
    status: str
    unit: str | None = None
    last_page: int | None = None
    source_words: str | None = None
    flags: tuple[str, ...] = ()
    confidence: float | None = None


@dataclass(frozen=True)
class Passage:
    """Words of a document. share: of what is asked for, or of what attended to them; 0 to 1."""

    source: str
    page: int
    label: str
    unit: str
    words: str
    share: float


@dataclass(frozen=True)
class Support:
    """Which sentences of an answer the documents support, in order: by a quote, by their figures and pages, or by what
    the model looked at. evidence: how much of the question's words, rare ones above all, the nearest passages have, 0
    to 1. said: whether that is enough for the documents to hold an answer."""

    supported: tuple[str, ...]
    unsupported: tuple[str, ...]
    evidence: float
    said: bool
    nearest: tuple[Passage, ...]


@dataclass(frozen=True)
class UnreadPage:
    """A page that the answer knows nothing of, and why."""

    source: str
    page: int
    label: str
    reason: str


@dataclass(frozen=True)
class PageLoss:
    """The share of a page's keys and values, over all heads, that was dropped after being read."""

    source: str
    page: int
    label: str
    share_evicted: float


@dataclass(frozen=True)
class PageReread:
    """The share of a page's tokens that the answer was written over, together with what else bears on it."""

    source: str
    page: int
    label: str
    share_reread: float


@dataclass(frozen=True)
class PassageAnswer:
    """What a passage answers by itself, and how likely the model found those words, in the mean; 0 to 1."""

    source: str
    page: int
    label: str
    answer: str
    probability: float


@dataclass(frozen=True)
class Receipt:
    """How the document was really read.

    exact is true only when every page asked for was read and nothing was approximated or dropped.
    pages_total counts all pages of the files; pages left out by the user's choice are among pages_unread.
    kv_share_kept: by kind of head, the share of read tokens still held. The kinds are "retrieval",
    "streaming", and "window" for layers that the model itself gives no more than a window.
    num_heads: by kind of head, the number of (layer, KV head) pairs.
    positions: "native", "closed up" (what was kept moved to where others were dropped), or the method that extended
    them to extended_times the model's window; that is 1 where none did. parts: 1, or the parts read apart and fused;
    then the answer was written over pages_reread, and every page that was read but isn't among them was left at that.
    fusion: "parts" where those were really read again, together, "kv" where they were attended to together as their
    parts had left them; None for a single part.
    conflict: passages that contradict each other where each is asked alone; those were read again in a second round,
    with what stands around them, before all else of pages_reread.
    tokens_from_store: of the tokens read, those that an earlier reading had stored. prefill_density: of the keys before
    a chunk that retrieval heads could have attended to while the document was read, the share they did; below 1 only
    with sparse prefill. decode_density: of the tokens that retrieval heads held whenever they left some out while
    answers were written, the share they attended to; below 1 only with page selection.
    instructions: text of the documents that reads like an instruction to a model and drew the answer's attention, with
    the share of its tokens that looked there most.
    notes: every fallback taken and every approximation, one sentence each.
    """

    exact: bool
    mode: str
    tokens_total: int
    tokens_read: int
    pages_total: int
    pages_read: int
    pages_unread: tuple[UnreadPage, ...]
    kv_dtype: str
    kv_share_kept: dict[str, float]
    num_heads: dict[str, int]
    pages_evicted: tuple[PageLoss, ...]
    positions: str = "native"
    extended_times: float = 1.0
    parts: int = 1
    fusion: str | None = None
    pages_reread: tuple[PageReread, ...] = ()
    conflict: tuple[PassageAnswer, ...] = ()
    tokens_from_store: int = 0
    prefill_density: float = 1.0
    decode_density: float = 1.0
    instructions: tuple[Passage, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class PlanSummary:
    """What was decided before the first token was read.

    rung: the way of reading chosen for the budget. loss: what it gives up, in words; empty when exact.
    evict: the policy that judges which keys and values are dropped, and keep_tokens what each retrieval head holds
    of the document on average; None where all of it is kept.
    extend: the method that takes positions beyond the model's window, extend_factor what it is applied with, and
    extended_times how many windows long the text may be; None where they stay within it.
    parts: in how many the document is read, 1 where it is read at once; capacity_tokens is for one of them.
    recent_size: of streaming heads, and prefill_recent_size while the document is read; the peak is with the latter.
    parts_together: of the parts of a summary, how many are written about at the same time, 1 where none are.
    predicted_peak_bytes: what the process will take of the device at most.
    """

    mode: str
    rung: str
    loss: str
    chunk_tokens: int
    capacity_tokens: int
    kv_dtype: str
    sink_size: int
    recent_size: int
    prefill_recent_size: int
    num_streaming_heads: int
    num_retrieval_heads: int
    evict: str | None
    keep_tokens: int | None
    extend: str | None
    extend_factor: float | None
    extended_times: float | None
    parts: int
    parts_together: int
    predicted_peak_bytes: int


@dataclass(frozen=True)
class MemoryUse:
    """device: "cpu" or "cuda". peak_bytes: peak RSS on a CPU, peak reserved bytes on CUDA; predicted_peak_bytes is
    what the plan said of it, budget_bytes what it had to stay under."""

    device: str
    budget_bytes: int
    predicted_peak_bytes: int
    peak_bytes: int
    weights_bytes: int
    kv_bytes: int


@dataclass(frozen=True)
class Timing:
    """ttft_s: from asking to the first token of the answer, with the reading where this question paid for it."""

    load_s: float
    prefill_s: float
    prefill_tokens_per_s: float
    ttft_s: float
    decode_s: float
    decode_tokens_per_s: float


@dataclass(frozen=True)
class ModelInfo:
    name: str
    dtype: str
    context_window: int


@dataclass(frozen=True)
class Answer:
    """finish_reason: "stop" (the model ended), "length" (max_new_tokens reached), "repetition" (the same was said over
    and over, until it was stopped) or "interrupted". circles_broken: how often the answer was led out of a phrase
    that it said over and over."""

    question: str
    answer: str
    complete: bool
    finish_reason: str
    circles_broken: int
    citations: tuple[Citation, ...]
    support: Support
    receipt: Receipt
    plan: PlanSummary
    memory: MemoryUse
    timing: Timing
    model: ModelInfo
    schema_version: int = field(default=SCHEMA_VERSION, kw_only=True)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
