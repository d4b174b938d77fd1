"""What the model's window leaves for a document, its questions and their answers, and what is done where it is too
small."""

from dataclasses import dataclass, replace
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.budget import ModelShape
from lcdoc.engine.extension import Extension
from lcdoc.errors import DoesNotFitError
from lcdoc.tasks.extending import choose_extension, is_too_long

# Room that an answer must have for a document to count as fitting the window.
MIN_ANSWER_TOKENS = 64

EXTENDING_ADVICE = "--extend self-extend reads it all at a loss, "


@dataclass(frozen=True)
class Need:
    """What is to be read. prompt_tokens: all besides the document, for the longest question. keep_turns: whether a
    chat will need the rest of the window. close_gaps_within: the window that what is kept must fit, where the document
    does not."""

    document_tokens: int
    prompt_tokens: int
    max_new_tokens: int
    keep_turns: bool
    close_gaps_within: int | None = None


@dataclass(frozen=True)
class Room:
    """What there is room for. capacity_tokens: what the cache is made for. max_new_tokens: the longest answer
    that still fits. note: what to tell of that, or None. extension: how positions go beyond the model's window; None
    where they don't."""

    capacity_tokens: int
    max_new_tokens: int
    note: str | None
    extension: Extension | None = None


def settle(config: Any, settings: ReadSettings, need: Need, shape: ModelShape) -> tuple[Need, Room]:
    """The room there is, and the need with what has to fit the window where the document does not: its positions go
    beyond it, or with --evict or --keep what is kept of it closes up. Else raises as fit_window does."""
    window = context_window(config)
    if need.document_tokens + need.prompt_tokens + MIN_ANSWER_TOKENS <= window:
        return need, fit_window(config, need)
    after = need.prompt_tokens + need.max_new_tokens
    if need.keep_turns:
        after = max(after, window // 4)
    length = need.document_tokens + after
    reach = max(length, need.document_tokens + need.prompt_tokens + MIN_ANSWER_TOKENS)
    extension = choose_extension(config, settings, reach, shape)
    if extension is not None:
        return need, Room(reach, need.max_new_tokens, None, extension)
    asked = settings.evict is not None or settings.keep is not None
    if not (asked and settings.mode == "auto" and not any(shape.windows)):
        too_long = is_too_long(config, settings, reach, shape)
        return need, fit_window(config, need, EXTENDING_ADVICE if too_long else "")
    note = f"the document is longer than the model's window of {window:,} tokens: what is kept of it moved up"
    return replace(need, close_gaps_within=window), Room(length, need.max_new_tokens, note)


def fit_window(config: Any, need: Need, advice: str = "") -> Room:
    """The room there is in the model's window; DoesNotFitError where there is too little. advice: to be given first."""
    window = context_window(config)
    needed = need.document_tokens + need.prompt_tokens + MIN_ANSWER_TOKENS
    if needed > window:
        raise DoesNotFitError(
            f"the document has {need.document_tokens:,} tokens and the question and answer need "
            f"{needed - need.document_tokens:,} more, but the model's window is {window:,} tokens; "
            f"{advice}--keep {window // 2} reads it all and holds what matters most; or choose pages with --pages, or "
            f"a model with a longer window with --model"
        )
    room, max_new_tokens, note = window - need.document_tokens - need.prompt_tokens, need.max_new_tokens, None
    if room < max_new_tokens:
        note = f"the answer is limited to {room:,} tokens: the model's window leaves no more"
        max_new_tokens = room
    used = need.document_tokens + need.prompt_tokens + max_new_tokens
    return Room(window if need.keep_turns else used, max_new_tokens, note)


def context_window(config: Any) -> int:
    """Tokens that the model was trained to attend over."""
    return int(config.get_text_config().max_position_embeddings)
