"""Deciding, before the first token is read, how a document will be read."""

from dataclasses import dataclass
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.profiles import GATE_THRESHOLD, HeadProfile, load_profile
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.tasks.answer import PlanSummary

DEFAULT_SINK_SIZE = 64
DEFAULT_RECENT_SIZE = 256

# Room that an answer must have for a document to count as fitting the window.
MIN_ANSWER_TOKENS = 64


@dataclass(frozen=True)
class Plan:
    """split: which heads stream. capacity_tokens: what the cache is made for. max_new_tokens: the longest answer
    that still fits. notes: what the user should know of these choices."""

    split: HeadSplit
    summary: PlanSummary
    max_new_tokens: int
    notes: tuple[str, ...]


def make_plan(
    config: Any,
    settings: ReadSettings,
    *,
    document_tokens: int,
    prompt_tokens: int,
    max_new_tokens: int,
    keep_turns: bool,
    kv_dtype: str,
) -> Plan:
    """config: the model's. prompt_tokens: all that is read besides the document, for the longest question.
    keep_turns: whether a chat will need room for more. Raises DoesNotFitError where the model's window is too
    small, UsageError where the settings don't go together."""
    window = context_window(config)
    needed = document_tokens + prompt_tokens + MIN_ANSWER_TOKENS
    if needed > window:
        raise DoesNotFitError(
            f"the document has {document_tokens:,} tokens and the question and answer need "
            f"{needed - document_tokens:,} more, but the model's window is {window:,} tokens; "
            f"choose pages with --pages, or a model with a longer window with --model"
        )
    notes = []
    room = window - document_tokens - prompt_tokens
    if room < max_new_tokens:
        notes.append(f"the answer is limited to {room:,} tokens: the model's window leaves no more")
        max_new_tokens = room
    split = choose_split(config, settings)
    capacity = window if keep_turns else document_tokens + prompt_tokens + max_new_tokens
    num_layers, num_kv_heads = head_counts(config)
    num_streaming = split.num_streaming_heads
    summary = PlanSummary(
        mode="exact" if settings.mode == "auto" else settings.mode,
        chunk_tokens=settings.chunk_tokens,
        capacity_tokens=capacity,
        kv_dtype=kv_dtype,
        sink_size=split.sink_size if num_streaming else 0,
        recent_size=split.recent_size if num_streaming else 0,
        num_streaming_heads=num_streaming,
        num_retrieval_heads=num_layers * num_kv_heads - num_streaming,
    )
    return Plan(split, summary, max_new_tokens, tuple(notes))


def choose_split(config: Any, settings: ReadSettings) -> HeadSplit:
    """Which heads stream under the settings' mode; "auto" drops nothing."""
    if settings.mode != "duo" and settings.profile is not None:
        raise UsageError(f"a head profile is used by --mode duo, not by --mode {settings.mode}")
    if settings.mode in ("auto", "exact"):
        if settings.sink_size is not None or settings.recent_size is not None:
            raise UsageError(f"sink and recent sizes belong to --mode stream or duo, not {settings.mode}")
        return HeadSplit.exact()
    num_layers, num_kv_heads = head_counts(config)
    profile: HeadProfile | None = None
    if settings.mode == "duo":
        if settings.profile is None:
            raise UsageError(
                "--mode duo needs a head profile; name one with --profile, see `lcdoc profiles list`"
            )
        profile = load_profile(settings.profile)
        profile.check_shape(num_layers, num_kv_heads)
    sink_size = _first(settings.sink_size, profile and profile.sink_size, DEFAULT_SINK_SIZE)
    recent_size = _first(settings.recent_size, profile and profile.recent_size, DEFAULT_RECENT_SIZE)
    if profile is not None:
        return HeadSplit.from_gates(profile.gates, GATE_THRESHOLD, sink_size, recent_size)
    return HeadSplit.stream(num_layers, num_kv_heads, sink_size, recent_size)


def _first(*sizes: int | None) -> int:
    return next(size for size in sizes if size is not None)


def context_window(config: Any) -> int:
    """Tokens that the model was trained to attend over."""
    return int(config.get_text_config().max_position_embeddings)


def head_counts(config: Any) -> tuple[int, int]:
    """Layers, and KV heads in each."""
    text = config.get_text_config()
    num_kv_heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
    return text.num_hidden_layers, num_kv_heads
