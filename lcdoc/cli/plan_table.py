"""A plan as a table, or as short paragraphs where the terminal is too narrow for one."""

import re
import sys
from collections.abc import Sequence
from itertools import groupby

import typer

from lcdoc.cli.display import is_terminal
from lcdoc.cli.measures import bytes_text, count
from lcdoc.cli.plan_words import exact_line, extension_line, parts_line, seconds_text
from lcdoc.cli.sanitize import clean_line
from lcdoc.tasks.forecast import Forecast, Way

COLUMNS = ("way", "KV", "weights", "workspace", "peak", "read + answer", "fits", "gives up")
MIN_TABLE_COLUMNS = 110
# Where the output is no terminal no line has to be cut.
PIPE_COLUMNS = 200

# Of more than this many rungs in a row that differ in a number only, the first, the last and the chosen are shown.
MAX_ALIKE = 5


def print_forecast(forecast: Forecast) -> None:
    """The ways to read, and below them what would make the reading exact."""
    shown = _shown(forecast)
    rows = [_row(way, forecast) for way in shown]
    typer.echo(clean_line(_head(forecast)))
    width = _width()
    if width >= MIN_TABLE_COLUMNS:
        _print_table(rows, width)
    else:
        _print_paragraphs(rows)
    if len(shown) < len(forecast.ways):
        typer.echo(f"{count(len(forecast.ways) - len(shown), 'more way')} in between; --json has them all")
    if forecast.extension is not None:
        typer.echo(extension_line(forecast.extension))
    if forecast.parts is not None:
        typer.echo(parts_line(forecast.parts, forecast.need.document_tokens, forecast.window))
    typer.echo(clean_line(exact_line(forecast)))
    for note in forecast.notes:
        typer.echo(clean_line(f"note: {note}"))


def _head(forecast: Forecast) -> str:
    need, place = forecast.need, forecast.place
    dtype = str(place.dtype).removeprefix("torch.")
    return (
        f"{forecast.subject.model}, {dtype}, on {place.device}: {need.document_tokens:,} tokens, with room for "
        f"{need.prompt_tokens:,} of a question and {need.max_new_tokens:,} of an answer; "
        f"budget {bytes_text(place.budget_bytes)}"
    )


def _shown(forecast: Forecast) -> list[Way]:
    shown: list[Way] = []
    for _, run in groupby(forecast.ways, key=lambda way: re.sub(r"\d+", "", way.rung.name)):
        ways = list(run)
        if len(ways) > MAX_ALIKE:
            ways = [way for way in ways if way in (ways[0], forecast.chosen, ways[-1])]
        shown += ways
    return shown


def _row(way: Way, forecast: Forecast) -> list[str]:
    rung = way.rung
    sizes = rung.kv_bytes, forecast.weights_bytes, rung.workspace_bytes, rung.peak_bytes
    fits = "chosen" if way is forecast.chosen else "yes" if way.fits else "no"
    mark = "> " if way is forecast.chosen else "  "
    loss = rung.loss or "nothing"
    return [mark + rung.name, *map(bytes_text, sizes), seconds_text(way.seconds), fits, loss]


def _print_table(rows: Sequence[Sequence[str]], width: int) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE)
    for name in COLUMNS:
        text = name in ("way", "fits", "gives up")
        table.add_column(name, justify="left" if text else "right", no_wrap=name != "gives up")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(file=sys.stdout, highlight=False, width=width).print(table)


def _print_paragraphs(rows: Sequence[Sequence[str]]) -> None:
    for way, *values in rows:
        typer.echo(way)
        for name, value in zip(COLUMNS[1:], values, strict=True):
            typer.echo(f"    {name:14}{value}")


def _width() -> int:
    if not is_terminal(sys.stdout):
        return PIPE_COLUMNS
    from rich.console import Console

    return Console(file=sys.stdout).width
