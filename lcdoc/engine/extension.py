"""Reading beyond the window that a model was trained for: the method, and the rotary embedding that it takes.

A method is chosen once, for one length, before the first token: the keys that are held never change their meaning.
"""

from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from math import ceil
from typing import Any

from lcdoc.engine.grouping import Grouping
from lcdoc.engine.unscaled_start import UnscaledStart
from lcdoc.errors import ModelError, UsageError

NAMES = {
    "pi": "position interpolation",
    "ntk": "NTK-aware scaling",
    "yarn": "YaRN",
    "longrope": "LongRoPE",
    "self-extend": "Self-Extend",
    "lm-infinite": "LM-Infinite",
}
# Done by the cache, which turns keys and queries; the others change the angles by which the model turns them.
TURNING = ("self-extend", "lm-infinite")

# Untuned models do better with twice what the length asks for, measured at 1.5 to 4 windows.
PROVISION = 2

# The share of the window in which Self-Extend leaves positions as they are.
NEAR_SHARE = 1 / 8

# Methods are applied for lengths in steps of so small a part of the window: a longer question or answer seldom changes
# how a document is read, and what was read before is good for it.
STEPS = 16

# Beyond so many windows little is found again.
MOST_WINDOWS = 4

# Where a rotary embedding keeps the one that it stands for, and what it was made of.
NATIVE = "lcdoc_native"

# Rotary embeddings that turn by rope_theta alone within the window.
PLAIN = ("default", "dynamic")


@dataclass(frozen=True)
class Extension:
    """method: one of NAMES. factor: what it is applied with: the divisor of positions (pi), alpha (ntk), the factor of
    the embedding (yarn, longrope), the size of a group (self-extend), 1 (lm-infinite). window_tokens: the model's.
    length_tokens: the most that will be read and written. rope: the rotary parameters that the model reads with, or
    None for its own. start_tokens: the first tokens, which keep the model's own angles whatever rope says."""

    method: str
    factor: float
    window_tokens: int
    length_tokens: int
    rope: Mapping[str, Any] | None = None
    start_tokens: int = 0

    @classmethod
    def of(
        cls, method: str, config: Any, length_tokens: int, factors: Mapping[str, Any] | None = None
    ) -> "Extension":
        """config: the model's. factors: those of LongRoPE, as a profile has them under `rope`: `factors`, one for each
        pair of channels, and perhaps an `attention_factor` and `start_tokens`. Raises ModelError for a model whose
        positions can't be extended, UsageError where this method doesn't suit its rotary embedding."""
        text = config.get_text_config()
        own = _parameters(text)
        window = int(text.max_position_embeddings)
        times = ceil(STEPS * length_tokens / window) / STEPS
        factor: float
        if method in TURNING:
            _check_turning(text, own, method)
            factor = ceil(PROVISION * times) if method == "self-extend" else 1
            rope = _plain(own) if own["rope_type"] == "dynamic" else None
        else:
            factor = times if method in ("pi", "longrope") else PROVISION * times
            rope = MAKERS[method](text, own, factor, factors)
        start_tokens = _start_tokens(factors) if method == "longrope" and factors else 0
        return cls(method, factor, window, length_tokens, rope, start_tokens)

    @property
    def times(self) -> float:
        """How many windows long the text is."""
        return self.length_tokens / self.window_tokens

    @property
    def turns(self) -> bool:
        """Whether the cache does it, and has to be able to turn keys."""
        return self.method in TURNING

    @property
    def grouping(self) -> Grouping | None:
        """Of the heads that keep everything; None where positions are not grouped."""
        if self.method != "self-extend":
            return None
        return Grouping(max(1, int(self.window_tokens * NEAR_SHARE)), int(self.factor))

    @property
    def loss(self) -> str:
        """What is given up, in words."""
        far = "facts far apart may be missed"
        if self.times > MOST_WINDOWS:
            far = f"beyond {MOST_WINDOWS} times its answers are often wrong"
        if self.method == "lm-infinite":
            far = "what lies between the first and the last tokens is not seen"
        return (
            f"positions extended to {self.times:.1f} times the model's window by {NAMES[self.method]}: {far}"
        )


def has_plain_rotation(config: Any) -> bool:
    """Whether NTK-aware scaling suits the model's rotary embedding. Raises ModelError as Extension.of does."""
    return _parameters(config.get_text_config())["rope_type"] in (*PLAIN, "linear")


def one_table(config: Any, length_tokens: int) -> dict[str, Any] | None:
    """The rotary parameters by which a model with two tables of factors, one for short texts and one for long ones,
    keeps to that of long ones. None where it has no such tables, or a text of length_tokens is short."""
    own = getattr(config.get_text_config(), "rope_parameters", None) or {}
    if own.get("rope_type") != "longrope" or length_tokens <= own["original_max_position_embeddings"]:
        return None
    return dict(own) | {"short_factor": own["long_factor"]}


def extend_positions(model: Any, extension: Extension | None, length_tokens: int = 0) -> None:
    """Gives the model the rotary embedding that the extension asks for, or its own again, the very module.

    length_tokens: the most that will be read and written. A model with two tables of angles would take the one for
    short texts for the first chunks of a long one, whose keys would then be turned otherwise than those after them.
    Raises ModelError where no embedding can be made."""
    decoder, rotary = model.get_decoder(), rotary_of(model)
    native = getattr(rotary, NATIVE, (rotary,))[0]
    rope = extension.rope if extension else one_table(model.config, length_tokens)
    if rope is None:
        put_rotary(model, native)
        return
    made_of = rope, extension.start_tokens if extension else 0
    if getattr(rotary, NATIVE, ())[1:] == made_of:
        return
    config = deepcopy(getattr(native, "config", None))
    if config is None:
        way = f"for --extend {extension.method}; take --extend self-extend" if extension else "for long texts"
        raise ModelError(f"this model's rotary embedding can't be made anew {way}")
    config.rope_parameters = dict(rope)
    decoder.rotary_emb = type(native)(config).to(native.inv_freq.device)
    if extension and extension.start_tokens:
        own = deepcopy(config)
        own.rope_parameters = _plain(rope)
        unscaled = type(native)(own).to(native.inv_freq.device)
        decoder.rotary_emb = UnscaledStart(decoder.rotary_emb, unscaled, extension.start_tokens)
    # In a tuple, so that it doesn't become a part of the model.
    setattr(decoder.rotary_emb, NATIVE, (native, *made_of))


def rotary_of(model: Any) -> Any:
    """What the model turns keys and queries with at present; None where it has no such module for all layers."""
    return getattr(model.get_decoder(), "rotary_emb", None)


def put_rotary(model: Any, rotary: Any) -> None:
    """Gives the model a rotary embedding that it had before."""
    if rotary_of(model) is not rotary:
        model.get_decoder().rotary_emb = rotary


def _parameters(text: Any) -> Mapping[str, Any]:
    """The model's rotary parameters; ModelError where there are none that all layers share."""
    own = getattr(text, "rope_parameters", None)
    if not own or "rope_type" not in own or own.get("rope_theta") is None:
        raise ModelError(
            "this model's positions can't be extended: it has no rotary embedding that all layers share; read less "
            "than its window at once, or choose another model"
        )
    return own


def _check_turning(text: Any, own: Mapping[str, Any], method: str) -> None:
    """Whether stored keys can be turned, as far as the configuration tells."""
    reason = ""
    if own["rope_type"] not in (*PLAIN, "linear", "yarn", "llama3"):
        reason = f"its rotary embedding is of type {own['rope_type']}"
    elif 0 in (getattr(text, "no_rope_layers", None) or ()):
        reason = "some of its layers know no positions"
    elif getattr(text, "qk_rope_head_dim", None):
        reason = "its keys have positions apart"
    if reason:
        raise ModelError(
            f"--extend {method} can't turn this model's keys: {reason}; read less than its window at once, or choose "
            f"another model"
        )


def _plain(own: Mapping[str, Any], **changed: Any) -> dict[str, Any]:
    """A rotary embedding of the model's own angles, with what is changed."""
    kept = ("rope_theta", "partial_rotary_factor")
    return {"rope_type": "default"} | {name: own[name] for name in kept if name in own} | changed


def _require(own: Mapping[str, Any], method: str, *types: str) -> None:
    if own["rope_type"] not in types:
        raise UsageError(
            f"--extend {method} is for a rotary embedding of type {' or '.join(types)}, and this model's is of type "
            f"{own['rope_type']}; take --extend self-extend"
        )


def rotary_dim(text: Any) -> int:
    """Channels of a head that are turned."""
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return int(head_dim * (text.rope_parameters.get("partial_rotary_factor") or 1.0))


def _interpolated(text: Any, own: Mapping[str, Any], factor: float, _: object) -> dict[str, Any]:
    """Positions divided by the factor (arXiv 2306.15595)."""
    _require(own, "pi", *PLAIN, "linear")
    before = own["factor"] if own["rope_type"] == "linear" else 1.0
    return _plain(own, rope_type="linear", factor=before * factor)


def _ntk(text: Any, own: Mapping[str, Any], alpha: float, _: object) -> dict[str, Any]:
    """A greater base, which leaves the fastest angles and divides the slowest by alpha."""
    _require(own, "ntk", *PLAIN, "linear")
    dim = rotary_dim(text)
    base = own["rope_theta"] * alpha ** (dim / (dim - 2))
    if own["rope_type"] == "linear":
        return dict(own) | {"rope_theta": base}
    return _plain(own, rope_theta=base)


def _yarn(text: Any, own: Mapping[str, Any], factor: float, _: object) -> dict[str, Any]:
    """Slow angles divided, fast ones left, and attention sharpened (arXiv 2309.00071)."""
    _require(own, "yarn", *PLAIN, "yarn")
    if own["rope_type"] == "yarn":
        trained = own["original_max_position_embeddings"]
        before = own.get("factor") or text.max_position_embeddings / trained
        return dict(own) | {"factor": before * factor}
    return _plain(
        own,
        rope_type="yarn",
        factor=factor,
        original_max_position_embeddings=text.max_position_embeddings,
    )


def _longrope(
    text: Any, own: Mapping[str, Any], factor: float, found: Mapping[str, Any] | None
) -> dict[str, Any]:
    """Each pair of channels slowed by a factor of its own, found by search (arXiv 2402.13753)."""
    _require(own, "longrope", *PLAIN)
    if not found or "factors" not in found:
        raise UsageError(
            "--extend longrope needs factors that were searched for this model, which its profile would hold under "
            "`rope`, and there are none; take --extend self-extend or ntk"
        )
    factors, pairs = found["factors"], rotary_dim(text) // 2
    valid = isinstance(factors, list) and all(isinstance(one, int | float) and one > 0 for one in factors)
    if not valid or len(factors) != pairs:
        raise UsageError(f"the profile's rope factors must be {pairs} numbers above 0, one for each angle")
    rope = _plain(
        own,
        rope_type="longrope",
        # One table for both: the angles must not change with the length of a call.
        short_factor=factors,
        long_factor=factors,
        factor=factor,
        original_max_position_embeddings=text.max_position_embeddings,
    )
    if found.get("attention_factor") is not None:
        rope["attention_factor"] = float(found["attention_factor"])
    return rope


def _start_tokens(found: Mapping[str, Any]) -> int:
    start_tokens = found.get("start_tokens", 0)
    if not isinstance(start_tokens, int) or start_tokens < 0:
        raise UsageError(f"the profile's start_tokens must be 0 or more tokens, not {start_tokens!r}")
    return start_tokens


MAKERS: Mapping[str, Callable[..., dict[str, Any]]] = {
    "pi": _interpolated,
    "ntk": _ntk,
    "yarn": _yarn,
    "longrope": _longrope,
}
