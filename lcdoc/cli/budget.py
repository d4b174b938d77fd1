"""`lcdoc bench budget`: real readings of documents under several budgets, foretold peaks beside measured ones."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.ask import parse
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.measures import bytes_text, count, ranges
from lcdoc.cli.sanitize import clean_line
from lcdoc.cli.tables import print_table
from lcdoc.errors import UsageError

if TYPE_CHECKING:
    from lcdoc.bench.budget import BudgetRun

Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Documents to read.")]
MaxTokens = Annotated[
    int, typer.Option(metavar="N", help="Read each document's first pages, about this many tokens.")
]
StepCount = Annotated[
    int, typer.Option("--steps", metavar="N", help="Budgets for each document, from exact to the least.")
]
ResultFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result to this file.")
]


def budget_command(
    files: Files,
    model: options.Model = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    weights: options.Weights = None,
    mode: options.Mode = None,
    kv_dtype: options.KvDtype = None,
    profile: options.Profile = None,
    streaming: options.Streaming = None,
    chunk_tokens: options.ChunkTokens = None,
    pages: options.Pages = None,
    password: options.Password = None,
    max_tokens: MaxTokens = 3000,
    steps: StepCount = 4,
    json: ResultFile = None,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Measure whether readings stay within budgets that just allow them, each in a process of its own."""
    from lcdoc.documents.source import STDIN, expand_sources

    if STDIN in files:
        raise UsageError(
            "bench budget reads a document several times, which stdin (-) can't give; name a FILE"
        )
    choices = {
        "model": model,
        "device": device,
        "dtype": dtype,
        "weights": weights,
        "mode": mode,
        "kv_dtype": kv_dtype,
        "profile": profile,
        "streaming": streaming,
        "chunk_tokens": chunk_tokens,
    }
    settings = options.settings_of(**choices, quiet=quiet, no_color=no_color)
    asked = [f"--{name.replace('_', '-')}={value}" for name, value in choices.items() if value is not None]
    display = open_display(settings.appearance)
    runs: list[BudgetRun] = []
    try:
        with interruptible():
            documents = parse(expand_sources(files), pages, password, display)
            from lcdoc.cli.models import require_model

            require_model(settings.read.model, display)
            from lcdoc.bench.budget import BudgetBench, Steps
            from lcdoc.evaluate.report import write_report

            bench = BudgetBench(
                documents, settings.read, Steps(max_tokens, steps), asked, password, display.say
            )
            if json is not None:
                write_report(json, bench.report())  # a file that can't be written costs no reading
            for run in bench.run():
                runs.append(run)
                display.say(f"{run.source}: {run.rung}: {_verdict(run)}")
                if json is not None:
                    write_report(json, bench.report())
            if json is not None:
                write_report(json, bench.report())
    except KeyboardInterrupt:
        display.clear()
        display.say(f"interrupted after {count(len(runs), 'reading')}")
        return INTERRUPTED
    finally:
        display.clear()
    print_runs(runs)
    return 0


def print_runs(runs: Sequence["BudgetRun"]) -> None:
    """A table for each document, then the worst of all."""
    columns = ["read as, in MiB", "budget", "foretold", "measured", "of budget", "error"]
    for _, group in groupby(runs, lambda run: (run.source, run.page_numbers)):
        readings = list(group)
        print_table(_title(readings[0]), columns, [_row(run) for run in readings])
    if not runs:
        typer.echo("nothing was read")
        return
    fullest = max(runs, key=lambda run: run.share_of_budget)
    farthest = max(runs, key=lambda run: abs(run.predicted_to_measured - 1))
    typer.echo(
        f"{count(len(runs), 'reading')}: at most {fullest.share_of_budget:.1%} of the budget taken "
        f"({_name(fullest)}); foretold peak off by {_error(farthest)} at most ({_name(farthest)})"
    )
    for run in runs:
        if run.share_of_budget > 1:
            typer.echo(f"OVER ITS BUDGET: {_name(run)}: {_verdict(run)}")


def _title(run: "BudgetRun") -> str:
    part = f"{ranges(run.page_numbers)} of {run.num_pages:,}"
    return f"{run.source}: {run.unit} {part}, {count(run.tokens, 'token')}"


def _row(run: "BudgetRun") -> list[str]:
    sizes = (run.budget_bytes, run.predicted_bytes, run.measured_bytes)
    shares = f"{run.share_of_budget:.1%}", _error(run)
    return [run.rung, *(f"{size_bytes / 2**20:,.1f}" for size_bytes in sizes), *shares]


def _verdict(run: "BudgetRun") -> str:
    return f"{bytes_text(run.measured_bytes)} are {run.share_of_budget:.1%} of the budget, {_error(run)} foretold"


def _error(run: "BudgetRun") -> str:
    return f"{run.predicted_to_measured - 1:+.1%}"


def _name(run: "BudgetRun") -> str:
    return clean_line(f"{run.source}, {run.rung}")
