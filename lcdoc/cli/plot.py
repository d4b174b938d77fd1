"""`lcdoc eval plot`: pictures of results that are there already."""

from pathlib import Path
from typing import Annotated

import typer

from lcdoc.cli.display import Lines

Results = Annotated[
    list[Path],
    typer.Argument(metavar="RESULT", help="What --json of needle or ruler wrote; several are joined."),
]
PlotFile = Annotated[Path, typer.Option("--plot", metavar="FILE.png", help="The picture.")]


def plot_command(results: Results, plot: PlotFile) -> int:
    """Draw results of needle and ruler: right answers by length and depth, scores by task and mode."""
    from lcdoc.evaluate.plots import check_picture, draw, load_report

    check_picture(plot)
    several = len(results) > 1
    draw([(path.stem if several else "", load_report(path)) for path in results], plot)
    Lines().say(f"picture written to {plot}")
    return 0
