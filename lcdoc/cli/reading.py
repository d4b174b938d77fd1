"""The options of how texts are read, which a command takes as one."""

from collections.abc import Callable
from functools import wraps
from inspect import Parameter, signature
from typing import Any

from lcdoc.cli import options


def _parameters(default: bool | None, **kinds: Any) -> list[Parameter]:
    return [
        Parameter(name, Parameter.KEYWORD_ONLY, default=default, annotation=kinds[name]) for name in kinds
    ]


MODEL = _parameters(None, model=options.Model)
PLACE = _parameters(None, device=options.Device, dtype=options.Dtype)
HEADS = _parameters(
    None,
    profile=options.Profile,
    streaming=options.Streaming,
    sink_size=options.SinkSize,
    recent_size=options.RecentSize,
)
WEIGHTS = _parameters(None, weights=options.Weights)
BUDGET = _parameters(None, budget=options.Budget)
CHUNKS = _parameters(None, chunk_tokens=options.ChunkTokens)
READING = [*PLACE, *HEADS, *CHUNKS]
EXTENDING = _parameters(None, extend=options.Extend)
DOCUMENT_READING = [
    *PLACE,
    *WEIGHTS,
    *_parameters(None, mode=options.Mode),
    *BUDGET,
    *_parameters(None, kv_dtype=options.KvDtype, evict=options.Evict, keep=options.Keep),
    *EXTENDING,
    *_parameters(None, fusion=options.Fusion),
    *HEADS,
    *_parameters(None, sparse_prefill=options.SparsePrefill, page_selection=options.PageSelection),
    *CHUNKS,
    *_parameters(None, max_new_tokens=options.MaxNewTokens),
]
SAMPLING = _parameters(
    None,
    temperature=options.Temperature,
    top_p=options.TopP,
    seed=options.Seed,
    break_circles=options.BreakCircles,
)
STORING = _parameters(None, store=options.Store, max_size=options.MaxSize)
# Of a command's own options, those of what it prints; they come behind all others.
PRINTING = ("no_cite", "strict", "markdown", "json", "jsonl")
APPEARANCE = _parameters(False, quiet=options.Quiet, no_color=options.NoColor)


def reading(command: Callable[..., int]) -> Callable[..., int]:
    """The command with --model before its own options and the others of reading behind them; it is called with what
    they come to, as `settings`. One that names `model` among its own options is told that, too."""
    return _with_settings(command, READING)


def weighed_reading(command: Callable[..., int]) -> Callable[..., int]:
    """As reading, with --weights: for commands that measure what they cost and gain."""
    return _with_settings(command, [*READING, *WEIGHTS])


def extended_reading(command: Callable[..., int]) -> Callable[..., int]:
    """As reading, with --extend: for commands that can read beyond the model's window."""
    return _with_settings(command, [*READING, *EXTENDING])


def exact_reading(command: Callable[..., int]) -> Callable[..., int]:
    """As reading, within a budget and with what is kept of it, for commands that drop nothing of what they read."""
    return _with_settings(command, [*PLACE, *WEIGHTS, *BUDGET, *CHUNKS, *STORING])


def document_reading(command: Callable[..., int]) -> Callable[..., int]:
    """As reading, with all that can be chosen for a document: for commands that read as `lcdoc ask` does."""
    return _with_settings(command, DOCUMENT_READING)


def stream_reading(command: Callable[..., int]) -> Callable[..., int]:
    """As reading, within a budget and with how an answer's tokens are drawn, for a text without end."""
    sizes = _parameters(None, sink_size=options.SinkSize, recent_size=options.RecentSize)
    profile = _parameters(None, profile=options.Profile)
    answers = _parameters(None, max_new_tokens=options.MaxNewTokens)
    return _with_settings(
        command, [*PLACE, *WEIGHTS, *BUDGET, *sizes, *profile, *CHUNKS, *answers, *SAMPLING]
    )


def answering(command: Callable[..., int]) -> Callable[..., int]:
    """As document_reading, with what is kept of it, and how an answer's tokens are drawn."""
    return _with_settings(command, [*DOCUMENT_READING, *STORING, *SAMPLING])


def _with_settings(command: Callable[..., int], options_of_reading: list[Parameter]) -> Callable[..., int]:
    asked = signature(command).parameters.values()
    own = [
        parameter.replace(kind=Parameter.KEYWORD_ONLY)
        for parameter in asked
        if parameter.name not in ("settings", "model")
    ]
    knows_model = any(parameter.name == "model" for parameter in asked)

    @wraps(command)
    def with_settings(quiet: bool, no_color: bool, **given: Any) -> int:
        flags = {parameter.name: given.pop(parameter.name) for parameter in (*MODEL, *options_of_reading)}
        settings = options.settings_of(**flags, quiet=quiet, no_color=no_color)
        told = {"model": flags["model"]} if knows_model else {}
        return command(settings=settings, **told, **given)

    printing = [parameter for parameter in own if parameter.name in PRINTING]
    others = [parameter for parameter in own if parameter.name not in PRINTING]
    parameters = [*MODEL, *others, *options_of_reading, *printing, *APPEARANCE]
    # What typer looks at.
    with_settings.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_settings
