"""`lcdoc eval`: quality, measured beside stock transformers."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.tables import print_table, split_names, split_numbers
from lcdoc.config import resolve

if TYPE_CHECKING:
    from lcdoc.evaluate.grid import Cell, Grid

Lengths = Annotated[str, typer.Option(metavar="N,N,...", help="Tokens of each document.")]
Depths = Annotated[int, typer.Option(help="How many depths, from the start to the end.")]
Seeds = Annotated[int, typer.Option(help="How many needles at each length and depth.")]
Modes = Annotated[
    str, typer.Option(metavar="MODE,...", help="exact, stream, duo, int8, int4, stock (transformers).")
]
Template = Annotated[str, typer.Option(help="Wording of the needle: magic, locker or archive.")]
HaystackFile = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Text to hide it in; one comes with lcdoc.")
]
ResultFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result to this file.")
]


def needle_command(
    model: options.Model = None,
    lengths: Lengths = "1000,4000,7000",
    depths: Depths = 5,
    seeds: Seeds = 2,
    mode: Modes = "exact,stock",
    template: Template = "magic",
    haystack: HaystackFile = None,
    json: ResultFile = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    profile: options.Profile = None,
    sink_size: options.SinkSize = None,
    recent_size: options.RecentSize = None,
    chunk_tokens: options.ChunkTokens = None,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Hide a sentence in a long text and ask for it, by length and depth."""
    settings = resolve(
        {
            "model": model,
            "device": device,
            "dtype": dtype,
            "profile": profile,
            "sink_size": sink_size,
            "recent_size": recent_size,
            "chunk_tokens": chunk_tokens,
            "quiet": quiet or None,
            "color": "never" if no_color else None,
        }
    )
    display = open_display(settings.appearance)
    from lcdoc.cli.models import require_model
    from lcdoc.evaluate.grid import Grid

    grid = Grid(split_numbers(lengths, "--lengths"), depths, seeds, split_names(mode), template)
    require_model(settings.read.model, display)
    from lcdoc.evaluate.needle import NeedleTest
    from lcdoc.evaluate.report import write_report

    cells: list[Cell] = []
    try:
        with interruptible():
            test = NeedleTest(settings.read, grid, haystack)
            if json is not None:
                write_report(json, test.report())  # a file that can't be written costs no reading
            for cell in test.run(display):
                cells.append(cell)
                display.say(f"{len(cells)} of {grid.num_cells}: {_line(cell)}")
                if json is not None:
                    write_report(json, test.report())
    except KeyboardInterrupt:
        display.clear()
        display.say(f"interrupted after {len(cells)} of {grid.num_cells} cells")
        return INTERRUPTED
    finally:
        display.clear()
    _print_scores(grid, cells)
    return 0


def _line(cell: "Cell") -> str:
    verdict = "right" if cell.right else f"wrong, not {cell.value}"
    place = f"{cell.mode}, {cell.length_tokens:,} tokens, depth {cell.depth:.0%}, seed {cell.seed}"
    return f"{place}: {verdict}: {cell.answer}"


def _print_scores(grid: "Grid", cells: list["Cell"]) -> None:
    """Right answers of all, a row for each mode and length, a column for each depth."""
    rows = []
    for length in grid.lengths:
        for mode in grid.modes:
            row = [cell for cell in cells if (cell.length_tokens, cell.mode) == (length, mode)]
            depths = [_share([cell for cell in row if cell.depth == depth]) for depth in grid.depth_shares]
            rows.append([f"{length:,} {mode}", *depths, _share(row)])
    columns = ["tokens, mode", *(f"{depth:.0%}" for depth in grid.depth_shares), "all"]
    print_table("right answers, by depth of the needle", columns, rows)


def _share(cells: list["Cell"]) -> str:
    return f"{sum(cell.right for cell in cells)}/{len(cells)}"
