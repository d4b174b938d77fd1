"""`lcdoc eval needle`: whether a sentence is found again in a long text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.reading import extended_reading
from lcdoc.cli.tables import Shaded, print_table, split_names, split_numbers
from lcdoc.config import Settings
from lcdoc.errors import UsageError

if TYPE_CHECKING:
    from lcdoc.evaluate.grid import Cell, Grid

Lengths = Annotated[str, typer.Option(metavar="N,N,...", help="Tokens of each document.")]
Depths = Annotated[int, typer.Option(help="How many depths, from the start to the end.")]
Seeds = Annotated[int, typer.Option(help="How many needles at each length and depth.")]
Templates = Annotated[
    str,
    typer.Option(
        "--templates",
        "--template",
        metavar="NAME,...",
        help="Wordings of the needle: magic, locker, archive (numbers), festival (a city), password (a code).",
    ),
]
ExportFile = Annotated[
    Path | None,
    typer.Option("--export", metavar="FILE", help="Write the prompts as JSON lines, and read nothing."),
]


@extended_reading
def needle_command(
    settings: Settings,
    lengths: Lengths = "1000,4000,7000",
    depths: Depths = 5,
    seeds: Seeds = 2,
    mode: evaluate.Modes = "exact,stock",
    templates: Templates = "magic",
    haystack: evaluate.Books = ["frankenstein"],  # noqa: B006
    shared_reading: evaluate.SharedReading = False,
    export: ExportFile = None,
    json: evaluate.ResultFile = None,
    plot: evaluate.PlotFile = None,
) -> int:
    """Hide a sentence in a long text and ask for it, by length and depth."""
    display = open_display(settings.appearance)
    for option, file in (("--json", json), ("--plot", plot)):
        if export is not None and file is not None:
            raise UsageError(f"--export reads nothing, so there is no result for {option}; choose one")
    from lcdoc.evaluate.grid import Grid

    grid = Grid(
        lengths=split_numbers(lengths, "--lengths"),
        depths=depths,
        seeds=seeds,
        modes=split_names(mode),
        templates=split_names(templates),
        books=tuple(dict.fromkeys(haystack)),
        shared_reading=shared_reading,
    )
    if export is not None:
        from lcdoc.evaluate.export import export_questions

        num_questions = export_questions(export, settings.read.model, grid)
        display.say(f"{num_questions} prompts written to {export}")
        return 0
    from lcdoc.evaluate.needle import NeedleTest

    suite = evaluate.run_suite(
        lambda: NeedleTest(settings.read, grid), settings.read.model, display, json, _line, plot
    )
    if suite is None:
        return INTERRUPTED
    _print_scores(grid, suite.cells, settings.appearance.color != "never")
    for line in _beside_near(suite.cells):
        display.say(line)
    return 0


def _line(cell: "Cell") -> str:
    verdict = "right" if cell.right else f"wrong, not {cell.value}"
    place = f"{cell.mode}, {cell.length_tokens:,} tokens, depth {cell.depth:.0%}, seed {cell.seed}"
    return f"{place}, {cell.template} in {cell.book}: {verdict}: {cell.answer}"


def _print_scores(grid: "Grid", cells: list["Cell"], colors: bool) -> None:
    """Right answers of all, a row for each mode and length, a column for each depth."""
    rows: list[list[str | Shaded]] = []
    for length in grid.lengths:
        for mode in grid.modes:
            row = [cell for cell in cells if (cell.length_tokens, cell.mode) == (length, mode)]
            depths = [_share([cell for cell in row if cell.depth == depth]) for depth in grid.depth_shares]
            rows.append([f"{length:,} {mode}", *depths, _share(row)])
    columns = ["tokens, mode", *(f"{depth:.0%}" for depth in grid.depth_shares), "all"]
    print_table("right answers, by depth of the needle", columns, rows, colors=colors)


def _beside_near(cells: list["Cell"]) -> Iterator[str]:
    """How many of those that the model answers from their surroundings are found in the whole text."""
    from lcdoc.evaluate.grid import score
    from lcdoc.evaluate.whole import NEAR

    for mode, lengths in score(cells).items():
        for length, total in lengths.items():
            if mode != NEAR and "right_near" in total:
                share = f"{total['right_in_both']} of the {total['right_near']}"
                yield f"{int(length):,} {mode}: {share} that are right where only their surroundings are read"


def _share(cells: list["Cell"]) -> Shaded:
    right = sum(cell.right for cell in cells)
    return Shaded(f"{right}/{len(cells)}", right / len(cells))
