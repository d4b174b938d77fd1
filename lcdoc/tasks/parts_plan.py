"""Deciding whether a document is read in parts, and how long these are, before anything is loaded."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lcdoc.config import NO_PROFILE, ReadSettings
from lcdoc.engine.attention_mass import watching_bytes
from lcdoc.engine.budget import Rung, kv_bytes
from lcdoc.engine.extension import one_table
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.reader import score_bytes
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.fusion.parts import cut_parts
from lcdoc.fusion.spans import SPAN_TOKENS, Span, cut_spans
from lcdoc.tasks.answer import PlanSummary
from lcdoc.tasks.extending import AUTO, NONE, NTK_WINDOWS, choose_extension, is_left_alone
from lcdoc.tasks.plan import Plan
from lcdoc.tasks.room import MIN_ANSWER_TOKENS, Need, context_window
from lcdoc.tokens import TokenizedDocument

OFF, PARTS, KV = "off", "parts", "kv"
IN_PARTS = (PARTS, KV)

# A part with all that stands around it takes no more than this share of the model's window.
PART_SHARE = 1 / 2

# What is read again for an answer: models lose facts among more text, long before their window is full.
EXCERPT_TOKENS = 1500

# An answer is kept no more than this share of the window free, so that a small one still holds an excerpt.
ANSWER_SHARE = 1 / 4

# So many times what a question's answer is written over is kept of the parts, as long as others may yet rank higher.
KEPT_TIMES = 3

# Parts and excerpts shorter than this tell nothing.
LEAST_TOKENS = 64

MakePlan = Callable[[ReadSettings, Need], Plan]


@dataclass(frozen=True)
class PartsPlan:
    """part: how one part is read, exactly, and again: how what bears on a question is read once more. num_parts:
    counted where the text is known, else the least there can be. tokens: the most of the document in a part.
    watching_bytes: what is taken on top to see what a question attends to. likelihood_bytes: likewise, to see how
    likely spans make a question; 0 where the budget has no room, and that is not looked at. kept_tokens: of each
    question, those whose keys and values are kept of the parts, and kept_bytes, of all questions; 0 where what bears on
    a question is read again."""

    part: Plan
    again: Plan
    num_parts: int
    tokens: int
    excerpt_tokens: int
    watching_bytes: int
    likelihood_bytes: int
    kept_tokens: int = 0
    kept_bytes: int = 0

    @property
    def loss(self) -> str:
        """What is given up, in words."""
        by = "" if self.likelihood_bytes else ", judged without its likelihood, for which there is no memory"
        apart = ", as they were read there" if self.kept_tokens else ""
        return (
            f"read in {self.num_parts} parts; each answer sees no more than {self.excerpt_tokens:,} tokens of them "
            f"together{apart}, those that bear on its question most{by}"
        )

    @property
    def peak_bytes(self) -> int:
        return self.kept_bytes + max(
            self.part.rung.peak_bytes + self.watching_bytes,
            self.again.rung.peak_bytes + self.likelihood_bytes,
        )

    @property
    def span_tokens(self) -> int:
        """The most tokens of a span: short enough for two to be read again together."""
        return min(SPAN_TOKENS, self.tokens, self.excerpt_tokens // 2)

    def named(self, rung: Rung) -> Rung:
        """A way to read a part, as a way to read the document."""
        name = "in parts" if rung.name in ("exact", "as asked") else f"in parts, {rung.name}"
        loss = "; ".join(filter(None, (rung.loss, self.loss)))
        return replace(
            rung, name=name, loss=loss, peak_bytes=rung.peak_bytes + self.watching_bytes + self.kept_bytes
        )

    @property
    def summary(self) -> PlanSummary:
        rung = self.named(self.part.rung)
        return replace(
            self.part.summary,
            mode=PARTS,
            rung=rung.name,
            loss=rung.loss,
            parts=self.num_parts,
            predicted_peak_bytes=self.peak_bytes,
        )


def is_read_in_parts(
    make: MakePlan, config: Any, settings: ReadSettings, need: Need, shape: ModelShape
) -> bool:
    """Whether a document is longer than the model's window, and is not read at once beyond it: because the settings say
    so, or they leave it open and it is longer than positions go beyond the window at little loss, or takes too much
    memory so. A chat, whose turns build on each other, is read at once as far as positions go. Within the window it is
    the last resort, where too little would be kept of a document that is read at once. make: plans one reading
    within the budget. Raises UsageError and ModelError where the settings don't go together or don't suit the model."""
    window = context_window(config)
    if settings.fusion == OFF:
        return False
    if need.least_tokens <= window:
        return not _fits_at_once(make, settings, need) and bool(
            parts_below(make, config, settings, need, shape, None)
        )
    if settings.fusion in IN_PARTS:
        _check_settings(settings, shape)
        return True
    if is_left_alone(settings):
        return False
    reach = max(need.length_tokens(window), need.least_tokens)
    extension = choose_extension(config, settings, reach, shape)
    if extension is None:
        return True
    if settings.extend not in (None, AUTO):
        return False
    left_open = settings.extend is None and not need.keep_turns
    if left_open and extension.method == "self-extend" and reach > NTK_WINDOWS * window:
        return True
    return not _fits_at_once(make, settings, need)


def parts_below(
    make: MakePlan,
    config: Any,
    settings: ReadSettings,
    need: Need,
    shape: ModelShape,
    tokens: TokenizedDocument | None,
) -> PartsPlan | None:
    """The rung below all that read a document at once with the weights on the device; None where the settings don't
    leave it open, or it takes no less. Arguments are those of plan_parts."""
    fixed = settings.mode != "auto" or settings.kv_dtype != "auto" or settings.fusion == OFF
    fixed = fixed or (settings.fusion == KV and any(shape.windows))
    if fixed or is_left_alone(settings):
        return None
    try:
        parts = plan_parts(make, config, settings, need, shape, tokens)
    except DoesNotFitError:
        return None
    offloaded = parts.part.rung.offloaded_layers or parts.again.rung.offloaded_layers
    return None if offloaded or parts.num_parts == 1 else parts


def _fits_at_once(make: MakePlan, settings: ReadSettings, need: Need) -> bool:
    """With all weights on the device."""
    try:
        return not make(settings, need).rung.offloaded_layers
    except DoesNotFitError:
        return False


def plan_parts(
    make: MakePlan,
    config: Any,
    settings: ReadSettings,
    need: Need,
    shape: ModelShape,
    tokens: TokenizedDocument | None,
) -> PartsPlan:
    """make: plans one reading within the budget. tokens: of the document, where it is at hand.

    The parts are as long as the window and the budget allow. A chat's questions are each answered alone. Raises
    DoesNotFitError where the parts are next to nothing."""
    need = replace(need, keep_turns=False)
    window = context_window(config)
    answer_tokens = max(MIN_ANSWER_TOKENS, min(need.max_new_tokens, int(window * ANSWER_SHARE)))
    excerpt_tokens = min(EXCERPT_TOKENS, window - need.prompt_tokens - answer_tokens)
    part_tokens = int(window * PART_SHARE) - need.prompt_tokens
    if min(excerpt_tokens, part_tokens) < LEAST_TOKENS:
        raise DoesNotFitError(
            f"the question takes {need.prompt_tokens:,} tokens with all that stands around it, too many to read a "
            f"document in parts with a window of {window:,}; ask more briefly, or choose another --model"
        )
    kept_tokens = KEPT_TIMES * excerpt_tokens if settings.fusion == KV else 0
    kept_bytes = need.num_questions * kv_bytes(shape, HeadSplit.exact(), kept_tokens, "model")
    again = make(again_settings(settings), replace(need, document_tokens=excerpt_tokens))
    if kept_bytes and (again.rung.eviction or again.rung.peak_bytes + kept_bytes > again.budget_bytes):
        raise DoesNotFitError(
            f"--fusion kv keeps {kept_bytes / 1e6:,.0f} MB of keys and values of the parts, which the budget of "
            f"{again.budget_bytes / 1e9:.2f} GB has no room for; raise --budget, ask fewer questions at once, or take "
            f"--fusion parts"
        )
    while (part := _plan_part(make, settings, need, shape, part_tokens, kept_bytes)) is None or (
        kept_tokens and not _turned_alike(config, part, again)
    ):
        part_tokens //= 2
        if part_tokens < LEAST_TOKENS:
            raise DoesNotFitError(
                f"not even {2 * part_tokens:,} tokens can be read exactly within the budget of "
                f"{again.budget_bytes / 1e9:.2f} GB; raise --budget, or take a smaller --model"
            )
    watching = _watching_bytes(shape, part_tokens)
    likelihood = score_bytes(need.prompt_tokens, shape.vocab_size, shape.dtype.itemsize)
    if again.rung.peak_bytes + kept_bytes + likelihood > again.budget_bytes:
        likelihood = 0
    sizes = part_tokens, excerpt_tokens, watching, likelihood, kept_tokens, kept_bytes
    plan = PartsPlan(part, again, 0, *sizes)
    num_parts = -(-need.document_tokens // part_tokens)
    if tokens is not None:
        num_parts = len(cut(plan, tokens))
    return replace(plan, num_parts=num_parts)


def _plan_part(
    make: MakePlan, settings: ReadSettings, need: Need, shape: ModelShape, part_tokens: int, kept_bytes: int
) -> Plan | None:
    """How a part of so many tokens is read; None where it would have to give something up. kept_bytes: of other parts,
    meanwhile."""
    try:
        plan = make(part_settings(settings), replace(need, document_tokens=part_tokens, max_new_tokens=1))
    except DoesNotFitError:
        return None
    taken_bytes = plan.rung.peak_bytes + _watching_bytes(shape, part_tokens) + kept_bytes
    return plan if taken_bytes <= plan.budget_bytes and plan.rung.eviction is None else None


def _turned_alike(config: Any, part: Plan, again: Plan) -> bool:
    """Whether the model turns keys by the same angles in both: some have others for long texts."""
    capacities = part.room.capacity_tokens, again.room.capacity_tokens
    of_part, of_again = (one_table(config, capacity) for capacity in capacities)
    return of_part == of_again


def _watching_bytes(shape: ModelShape, part_tokens: int) -> int:
    return watching_bytes(part_tokens, shape.head_dim, shape.num_heads // shape.num_kv_heads)


def cut(plan: PartsPlan, tokens: TokenizedDocument) -> list[list[Span]]:
    """The parts of a text, each as its spans."""
    return cut_parts(cut_spans(tokens, plan.span_tokens), plan.tokens)


def part_settings(settings: ReadSettings) -> ReadSettings:
    """For one part: nothing of it is given up, whatever the settings allow for."""
    return replace(
        settings,
        mode="auto",
        kv_dtype="model",
        profile=NO_PROFILE,
        streaming=None,
        sink_size=None,
        recent_size=None,
        sparse_prefill=False,
        page_selection="off",
        extend=NONE,
        fusion=OFF,
    )


def again_settings(settings: ReadSettings) -> ReadSettings:
    """For what is read again, as a document of its own that fits the window, or taken from the parts as it is there."""
    if settings.fusion == KV:
        return replace(part_settings(settings), page_selection=settings.page_selection)
    return replace(settings, extend=NONE, fusion=OFF)


def _check_settings(settings: ReadSettings, shape: ModelShape) -> None:
    other = None
    if settings.mode in ("exact", "stream"):
        other = f"--mode {settings.mode}"
    elif settings.evict is not None or settings.keep is not None:
        other = "--evict or --keep"
    elif settings.extend not in (None, AUTO, NONE):
        other = f"--extend {settings.extend}"
    elif settings.fusion == KV and settings.mode != "auto":
        other = f"--mode {settings.mode}"
    elif settings.fusion == KV and settings.kv_dtype not in ("auto", "model"):
        raise UsageError(
            f"--fusion kv keeps keys and values as the model computes them; it can't go with --kv-dtype "
            f"{settings.kv_dtype}: leave out one of them"
        )
    elif settings.fusion == KV and any(shape.windows):
        raise UsageError(
            "--fusion kv needs keys and values of whole parts, but this model's layers with a window of their own drop "
            "them; take --fusion parts, or another --model"
        )
    if other:
        raise UsageError(
            f"--fusion {settings.fusion} reads every part in full, by itself; it can't go with {other}, which reads "
            f"the document at once: leave out one of them"
        )
