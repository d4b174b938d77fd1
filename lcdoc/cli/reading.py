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
READING = _parameters(
    None,
    device=options.Device,
    dtype=options.Dtype,
    profile=options.Profile,
    streaming=options.Streaming,
    sink_size=options.SinkSize,
    recent_size=options.RecentSize,
    chunk_tokens=options.ChunkTokens,
)
EXTENDING = _parameters(None, extend=options.Extend)
APPEARANCE = _parameters(False, quiet=options.Quiet, no_color=options.NoColor)


def reading(command: Callable[..., int]) -> Callable[..., int]:
    """The command with --model before its own options and the others of reading behind them; it is called with what
    they come to, as `settings`. Where it has a --model of its own, that is no setting."""
    return _with_settings(command, READING)


def extended_reading(command: Callable[..., int]) -> Callable[..., int]:
    """As reading, with --extend: for commands that can read beyond the model's window."""
    return _with_settings(command, [*READING, *EXTENDING])


def _with_settings(command: Callable[..., int], options_of_reading: list[Parameter]) -> Callable[..., int]:
    own = [
        parameter.replace(kind=Parameter.KEYWORD_ONLY)
        for parameter in signature(command).parameters.values()
        if parameter.name != "settings"
    ]
    model = [] if any(parameter.name == "model" for parameter in own) else MODEL

    @wraps(command)
    def with_settings(quiet: bool, no_color: bool, **given: Any) -> int:
        flags = {parameter.name: given.pop(parameter.name) for parameter in (*model, *options_of_reading)}
        settings = options.settings_of(**flags, quiet=quiet, no_color=no_color)
        return command(settings=settings, **given)

    parameters = [*model, *own, *options_of_reading, *APPEARANCE]
    # What typer looks at.
    with_settings.__signature__ = signature(command).replace(parameters=parameters)  # type: ignore[attr-defined]
    with_settings.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_settings
