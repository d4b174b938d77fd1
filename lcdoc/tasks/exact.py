"""What to change so that a document is read exactly: the budget, the model's window, or how much of it is read."""

from dataclasses import dataclass, replace

from lcdoc.config import ReadSettings
from lcdoc.engine.model_shape import ModelShape
from lcdoc.tasks.place import Place
from lcdoc.tasks.plan import list_rungs
from lcdoc.tasks.room import MIN_ANSWER_TOKENS, Need
from lcdoc.tokens import TokenizedDocument

# What a process takes before any weights differs a little from one run to the next.
BASE_MARGIN = 0.03


@dataclass(frozen=True)
class ExactChange:
    """budget_bytes: what an exact reading takes; possible: whether the device has so much, as far as is known.
    window_tokens: the window it needs where the model's is too small, else None. settings: options that rule it out
    and what they must be. tokens: of the document, the most that an exact reading within the budget has room for.
    pages: the first ones of the document that these are, where it is one document."""

    budget_bytes: int
    possible: bool
    window_tokens: int | None
    settings: tuple[str, ...]
    tokens: int
    pages: tuple[int, ...]


def find_exact_change(
    settings: ReadSettings,
    shape: ModelShape,
    need: Need,
    place: Place,
    window: int | None,
    tokenized: TokenizedDocument | None,
) -> ExactChange:
    """shape: with the weights as the model computes. window: the model's, or None where it doesn't bind."""
    unfixed = exactly(settings)
    around = need.prompt_tokens + MIN_ANSWER_TOKENS

    def peak_bytes(document_tokens: int) -> int:
        capacity = document_tokens + need.prompt_tokens + need.max_new_tokens
        if window is not None and document_tokens + around <= window:
            capacity = min(capacity, window)
        return min(rung.peak_bytes for rung in list_rungs(unfixed, shape, capacity, place.base_bytes))

    too_long = window is not None and need.document_tokens + around > window
    fitting, over = 0, need.document_tokens + 1
    if window is not None:
        over = min(over, max(window - around, 0) + 1)
    while over - fitting > 1:
        middle = (fitting + over) // 2
        fitting, over = (middle, over) if peak_bytes(middle) <= place.budget_bytes else (fitting, middle)
    peak = peak_bytes(need.document_tokens)
    if place.base_bytes:
        peak += int(place.base_bytes * BASE_MARGIN)
    return ExactChange(
        budget_bytes=peak,
        possible=place.total_bytes is None or peak <= place.total_bytes,
        window_tokens=need.document_tokens + around if too_long else None,
        settings=_ruling_out(settings),
        tokens=fitting,
        pages=_pages(tokenized, fitting),
    )


def exactly(settings: ReadSettings) -> ReadSettings:
    """The same settings without any that give something up."""
    return replace(
        settings,
        weights="model",
        mode="exact",
        kv_dtype="auto",
        evict=None,
        keep=None,
        extend="none",
        fusion="off",
        profile=None,
        streaming=None,
        sink_size=None,
        recent_size=None,
        sparse_prefill=False,
        page_selection="off",
    )


def _ruling_out(settings: ReadSettings) -> tuple[str, ...]:
    mode = ("--mode exact",) if settings.mode not in ("auto", "exact") else ()
    kv_dtype = ("--kv-dtype model",) if settings.kv_dtype not in ("auto", "model") else ()
    weights = ("--weights model",) if settings.weights != "model" else ()
    asked = settings.evict is not None or settings.keep is not None
    evict = ("no --evict or --keep",) if asked else ()
    sparse = ("--sparse-prefill off",) if settings.sparse_prefill else ()
    pages = ("--page-selection off",) if settings.page_selection != "off" else ()
    return weights + mode + kv_dtype + evict + sparse + pages


def _pages(tokenized: TokenizedDocument | None, tokens: int) -> tuple[int, ...]:
    if tokenized is None or len({span.document.source for span in tokenized.spans}) > 1:
        return ()
    return tuple(span.page.number for span in tokenized.spans if span.stop <= tokens)
