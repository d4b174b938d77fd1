"""Choosing how a document longer than the model's window is read beyond it, before anything is loaded."""

from collections.abc import Mapping
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.extension import MOST_WINDOWS, TURNING, Extension, has_plain_rotation
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import load_profile
from lcdoc.errors import ModelError, UsageError

AUTO, NONE = "auto", "none"

# Up to so many windows a greater base loses less than grouping positions does.
NTK_WINDOWS = 1.5

# LM-Infinite's first tokens, where the user gives no number; in a small window no more than this share of it.
SINK_TOKENS, SINK_SHARE = 64, 1 / 8


def choose_extension(
    config: Any, settings: ReadSettings, length_tokens: int, shape: ModelShape
) -> Extension | None:
    """For a text of length_tokens, which exceed the model's window. None where positions stay as they are: by choice,
    or, where the choice is left to lcdoc, for lack of a way that it would take.

    Raises UsageError where the settings don't go together, ModelError where a method that was named doesn't suit the
    model."""
    method = settings.extend or AUTO
    if method == NONE or (method == AUTO and is_left_alone(settings)):
        return None
    if method != AUTO:
        check_windows(shape, method)
        return _made(method, config, settings, length_tokens)
    try:
        check_windows(shape, method)
        chosen = _automatic(config, settings, length_tokens)
        if chosen and is_better(searched_factors(settings), chosen, length_tokens):
            chosen = "longrope"
        return _made(chosen, config, settings, length_tokens) if chosen else None
    except ModelError:
        return None


def is_too_long(config: Any, settings: ReadSettings, length_tokens: int, shape: ModelShape) -> bool:
    """Whether nothing but the length kept lcdoc from extending positions by itself."""
    if settings.extend == NONE or is_left_alone(settings) or any(shape.windows):
        return False
    try:
        Extension.of("self-extend", config, length_tokens)
    except ModelError:
        return False
    return True


def bounded_split(settings: ReadSettings, shape: ModelShape, window_tokens: int) -> HeadSplit:
    """LM-Infinite's: every head streams, over as much as the window holds unless the settings say otherwise."""
    sink_size, recent_size = settings.sink_size, settings.recent_size
    if sink_size is None:
        sink_size = min(SINK_TOKENS, int(window_tokens * SINK_SHARE))
    if recent_size is None:
        recent_size = max(1, window_tokens - sink_size)
    if sink_size + recent_size > window_tokens:
        raise UsageError(
            f"{sink_size:,} first and {recent_size:,} last tokens are more than the model's window of "
            f"{window_tokens:,}; take a smaller --sink-size or --recent-size"
        )
    return HeadSplit.stream(shape.num_layers, shape.num_kv_heads, sink_size, recent_size)


def is_left_alone(settings: ReadSettings) -> bool:
    """Whether the settings have an answer of their own to a long document."""
    return settings.mode == "exact" or settings.evict is not None or settings.keep is not None


def _automatic(config: Any, settings: ReadSettings, length_tokens: int) -> str | None:
    times = length_tokens / config.get_text_config().max_position_embeddings
    if settings.mode == "stream":
        return "lm-infinite"
    if times > MOST_WINDOWS:
        return None
    return "ntk" if times <= NTK_WINDOWS and has_plain_rotation(config) else "self-extend"


def _made(method: str, config: Any, settings: ReadSettings, length_tokens: int) -> Extension:
    _check_settings(method, settings)
    factors = searched_factors(settings) if method == "longrope" else None
    return Extension.of(method, config, length_tokens, factors)


def searched_factors(settings: ReadSettings) -> Mapping[str, Any] | None:
    """What the profile holds for LongRoPE, as `lcdoc extend` writes it; None where it holds nothing."""
    return None if settings.profile is None else load_profile(settings.profile).rope


def is_better(found: Mapping[str, Any] | None, method: str, length_tokens: int) -> bool:
    """Whether factors were searched for such a length, and read a text that they were not searched on better than the
    method did."""
    if not found or "range_tokens" not in found or "held_out" not in found:
        return False
    try:
        least, most = found["range_tokens"]
        scores = found["held_out"]
        return least < length_tokens <= most and scores["longrope"]["score"] < scores[method]["score"]
    except KeyError:  # the method was not measured beside them
        return False
    except (TypeError, ValueError) as error:
        raise UsageError(
            "the profile's rope range_tokens and held_out are not as `lcdoc extend` writes them; run it again, or "
            "take --extend ntk"
        ) from error


def check_windows(shape: ModelShape, method: str) -> None:
    """Layers with a window of their own were trained with positions as they are, and some models give the others no
    positions at all."""
    windowed = sum(window is not None for window in shape.windows)
    if windowed:
        raise ModelError(
            f"--extend {method} is for models whose layers all see the whole text, and {windowed} of this one's "
            f"{shape.num_layers} have a window of their own; choose pages with --pages, or another model"
        )


def _check_settings(method: str, settings: ReadSettings) -> None:
    if settings.mode == "exact":
        raise UsageError(
            f"--mode exact keeps the model's own positions; it can't go with --extend {method}: take --mode auto"
        )
    if method not in TURNING:
        return
    if settings.evict is not None or settings.keep is not None:
        raise UsageError(
            f"--extend {method} can't go with --evict or --keep, which move what is kept up within the window; leave "
            f"out one of them"
        )
    if method == "self-extend" and settings.mode == "stream":
        raise UsageError(
            "--extend self-extend groups the positions of what --mode stream drops; take --extend lm-infinite"
        )
    if method == "lm-infinite" and settings.mode == "duo":
        raise UsageError("--extend lm-infinite makes every head stream; take --mode stream, not duo")
    if method == "self-extend" and settings.kv_dtype not in ("auto", "model"):
        raise UsageError(
            f"--extend self-extend keeps keys and values as the model computes them; it can't go with --kv-dtype "
            f"{settings.kv_dtype}: take --extend ntk"
        )
