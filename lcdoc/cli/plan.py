"""`lcdoc plan`: how documents would be read within the budget, in bytes and seconds, without loading any weights."""

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.ask import parse
from lcdoc.cli.display import Display, open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.output import json_text
from lcdoc.cli.reading import document_reading
from lcdoc.config import Settings
from lcdoc.errors import DoesNotFitError, UsageError

if TYPE_CHECKING:
    from lcdoc.tasks.forecast import Forecast

COUNT = re.compile(r"(\d{1,15}(?:\.\d{1,15})?)(?:([kmg])(i)?)?", re.IGNORECASE)
POWERS = {"": 0, "k": 1, "m": 2, "g": 3}
MAX_TOKENS = 10**12

OptionalFiles = Annotated[
    list[str] | None, typer.Argument(metavar="FILE", help="Documents to read; - is stdin.")
]
Recalibrate = Annotated[
    bool, typer.Option("--recalibrate", help="Measure this machine's speed again; it is kept otherwise.")
]


@dataclass(frozen=True)
class Wanted:
    """What one call plans for: sources, or else tokens; model_config instead of an installed model."""

    sources: list[str]
    tokens: int | None
    model_config: Path | None
    pages: str | None
    password: str | None


@document_reading
def plan_command(
    settings: Settings,
    model: options.Model = None,
    files: OptionalFiles = None,
    tokens: options.Tokens = None,
    model_config: options.ModelConfig = None,
    pages: options.Pages = None,
    password: options.Password = None,
    recalibrate: Recalibrate = False,
    json: options.Json = False,
) -> int:
    """Show how documents would be read within the budget, in bytes and seconds. Loads no weights.

    With --device cuda on a machine without CUDA it plans for one elsewhere, whose memory is the --budget.
    """
    if model is not None and model_config is not None:
        raise UsageError("--model and --model-config exclude each other; choose one")
    if files and tokens is not None:
        raise UsageError("FILE and --tokens exclude each other; name documents or a length")
    if not files and tokens is None:
        raise UsageError(
            "nothing to plan for: name a FILE, or a length with --tokens (see 'lcdoc plan --help')"
        )
    if files and model_config is not None:
        raise UsageError(
            "--model-config has no tokenizer to count a FILE's tokens; give a length with --tokens"
        )
    if pages is not None and not files:
        raise UsageError("--pages chooses from a FILE, and --tokens has none; leave it out")
    length = None if tokens is None else parse_tokens(tokens)
    return plan(Wanted(files or [], length, model_config, pages, password), settings, recalibrate, json)


def parse_tokens(text: str, option: str = "--tokens") -> int:
    """ "128k" -> 128,000; "1Mi" -> 1,048,576. Raises UsageError for what is no number of tokens."""
    match = COUNT.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"{option} must be a number such as 4096, 128k, 1M or 128Ki, not {text!r}")
    size = Fraction(match[1]) * (1024 if match[3] else 1000) ** POWERS[(match[2] or "").lower()]
    if not 1 <= size <= MAX_TOKENS or size.denominator != 1:
        raise UsageError(f"{option} must be a whole number from 1 to {MAX_TOKENS:,}, not {text!r}")
    return int(size)


def plan(wanted: Wanted, settings: Settings, recalibrate: bool, as_json: bool) -> int:
    """Prints the plan and returns the exit code. Raises DoesNotFitError after it where no way fits."""
    display = open_display(settings.appearance)
    try:
        with interruptible():
            forecast = _forecast(wanted, settings, recalibrate, display)
    except KeyboardInterrupt:
        display.clear()
        display.say("interrupted before there was a plan")
        return INTERRUPTED
    finally:
        display.clear()
    if as_json:
        from lcdoc.cli.plan_report import report

        typer.echo(json_text(report(forecast), indent=2))
    else:
        from lcdoc.cli.plan_table import print_forecast

        print_forecast(forecast)
    if forecast.refusal is not None:
        raise DoesNotFitError(forecast.refusal)
    return 0


def _forecast(wanted: Wanted, settings: Settings, recalibrate: bool, display: Display) -> "Forecast":
    from lcdoc.cli.models import require_model
    from lcdoc.documents.source import expand_sources

    read = settings.read
    documents = []
    if wanted.tokens is None:
        documents = parse(expand_sources(wanted.sources), wanted.pages, wanted.password, display)
    if wanted.model_config is None:
        require_model(read.model, display)
    display.clear()
    from lcdoc.tasks.forecast import make_forecast
    from lcdoc.tasks.subject import Subject

    if wanted.tokens is None:
        subject = Subject.of_documents(documents, read.model)
    elif wanted.model_config is None:
        subject = Subject.of_tokens(wanted.tokens, read.model)
    else:
        subject = Subject.of_config(wanted.tokens, wanted.model_config)
    return make_forecast(
        subject, read, settings.sampling.max_new_tokens, recalibrate=recalibrate, say=display.say
    )
