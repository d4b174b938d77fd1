"""Deciding, before anything is loaded, whether documents are summarized at once or in parts, and how long these are."""

from dataclasses import dataclass, replace

from lcdoc.config import ReadSettings
from lcdoc.engine.rows import num_rows, row_bytes
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.tasks.answer import PlanSummary
from lcdoc.tasks.host import Host
from lcdoc.tasks.plan import Plan
from lcdoc.tasks.room import MIN_ANSWER_TOKENS, Need, context_window

# Of the model's window: a part, and the longest text written at once. Models lose more of longer texts.
PART_SHARE = ANSWER_SHARE = 1 / 4

# Of a part, for the summary of what came before it.
SO_FAR_SHARE = 1 / 4

# Parts shorter than this tell nothing.
LEAST_TOKENS = 64

# Words of what is only written to be merged, and how many of these are merged at once.
NOTE_WORDS = 60
MOST_MERGED = 5

# No language that is written with spaces takes more, for long; what is cut all the same is said.
TOKENS_PER_WORD = 2
SPARE_TOKENS = 32


@dataclass(frozen=True)
class SummaryPlan:
    """reading: of the longest text that is read at once. at_once: whether that is all of the documents. part_tokens:
    the most of the documents in a part. note_tokens, answer_tokens: the most written of a text that is merged, and of
    one that is not. so_far_tokens: room in a part for the summary of what came before it. rows: texts that are written
    at the same time, where there are as many, and row_bytes what each takes beside the first."""

    reading: Plan
    at_once: bool
    part_tokens: int
    note_tokens: int
    answer_tokens: int
    so_far_tokens: int = 0
    rows: int = 1
    row_bytes: int = 0

    @property
    def cut_tokens(self) -> int:
        """The most of a part that is its own text."""
        return self.part_tokens - self.so_far_tokens

    @property
    def merged_at_once(self) -> int:
        """So many summaries have room beside each other, with sentences of the document."""
        return max(2, min(MOST_MERGED, self.part_tokens // (2 * self.note_tokens)))

    @property
    def note_words(self) -> int:
        return min(NOTE_WORDS, max(8, (self.note_tokens - SPARE_TOKENS // 2) // TOKENS_PER_WORD))

    def summary(self, num_parts: int, loss: str) -> PlanSummary:
        """loss: what is given up by reading in parts."""
        if self.at_once:
            return self.reading.summary
        rung = self.reading.rung
        return replace(
            self.reading.summary,
            mode="parts",
            rung="in parts" if rung.name in ("exact", "as asked") else f"in parts, {rung.name}",
            loss="; ".join(filter(None, (rung.loss, loss))),
            parts=num_parts,
            parts_together=self.together(num_parts),
            predicted_peak_bytes=rung.peak_bytes + (self.together(num_parts) - 1) * self.row_bytes,
        )

    def together(self, num_parts: int) -> int:
        """Of so many parts, those that are written about at the same time."""
        return min(self.rows, num_parts)


def plan_summary(
    host: Host,
    settings: ReadSettings,
    *,
    document_tokens: int,
    prompt_tokens: int,
    words: int,
    section_words: int,
    part_tokens: int | None,
    may_be_whole: bool,
    onward: bool,
) -> SummaryPlan:
    """prompt_tokens: all that stands around a text. words: of the summary, section_words of one of its sections.
    part_tokens: what the user wants. may_be_whole: whether one text may be made of all.
    onward: whether a part is read behind a summary of what came before it.

    Raises DoesNotFitError where not even the shortest parts can be read exactly within the budget, UsageError for parts
    that the window has no room for."""
    window = context_window(host.config)
    whole_tokens = min(limit_tokens(words), max(MIN_ANSWER_TOKENS, int(window * ANSWER_SHARE)))
    if may_be_whole and part_tokens is None and document_tokens + prompt_tokens + whole_tokens <= window:
        reading = _exact(host, settings, Need(document_tokens, prompt_tokens, whole_tokens, False))
        if reading is not None:
            return SummaryPlan(reading, True, document_tokens, whole_tokens, whole_tokens)
    most = window - prompt_tokens - int(window * ANSWER_SHARE)
    if most < LEAST_TOKENS:
        raise DoesNotFitError(
            f"what is asked takes {prompt_tokens:,} tokens, too many beside a part of a document with a window of "
            f"{window:,}; shorten --focus, or choose another --model"
        )
    if part_tokens is not None and not LEAST_TOKENS <= part_tokens <= most:
        raise UsageError(
            f"parts of {part_tokens:,} tokens: they may have {LEAST_TOKENS} to {most:,} with this model's window of "
            f"{window:,}"
        )
    tokens = part_tokens or min(most, int(window * PART_SHARE))
    while True:
        note_tokens = min(limit_tokens(NOTE_WORDS), tokens // 4)
        answer_tokens = min(limit_tokens(section_words), int(window * ANSWER_SHARE))
        need = Need(tokens, prompt_tokens, max(note_tokens, answer_tokens), False)
        reading = _exact(host, settings, need)
        if reading is not None:
            so_far_tokens = int(tokens * SO_FAR_SHARE) if onward else 0
            plan = SummaryPlan(reading, False, tokens, note_tokens, answer_tokens, so_far_tokens)
            return plan if onward else _with_rows(plan, host)
        if tokens < 2 * LEAST_TOKENS:
            raise DoesNotFitError(
                f"not even {tokens:,} tokens can be read exactly within the budget of {host.budget_bytes / 1e9:.2f} "
                f"GB; raise --budget, or take a smaller --model"
            )
        tokens //= 2


def _with_rows(plan: SummaryPlan, host: Host) -> SummaryPlan:
    """As many texts at the same time as the budget has room for."""
    reading = plan.reading
    sizes = reading.shape, reading.rung, reading.room.capacity_tokens
    rows = num_rows(host.device, *sizes, reading.budget_bytes)
    return replace(plan, rows=rows, row_bytes=row_bytes(*sizes))


def limit_tokens(words: int) -> int:
    """The most tokens that so many words are written in."""
    return TOKENS_PER_WORD * words + SPARE_TOKENS


def _exact(host: Host, settings: ReadSettings, need: Need) -> Plan | None:
    """None where something would have to be given up."""
    try:
        plan = host.plan(settings, need)
    except DoesNotFitError:
        return None
    return plan if plan.rung.eviction is None else None
