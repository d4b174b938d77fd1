"""What the suites of `lcdoc eval` share: their options, and running one while its result is kept up to date."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from lcdoc.cli.display import Display
from lcdoc.cli.exits import interruptible

if TYPE_CHECKING:
    from lcdoc.evaluate.suite import Suite

Modes = Annotated[
    str,
    typer.Option(
        metavar="MODE,...",
        help="exact, stream, duo, bfloat16, int8, int4, stock (transformers), or an eviction policy and what it "
        "keeps: question@25%; duo@75%: that share of the heads streams, by --profile; random@75%: as many drawn at "
        "random. A text longer than the model's window: a method of --extend; for needle, ruler and qa also parts "
        "or kv (read in parts), words (what shares the question's words) or first (what the window holds), for needle "
        "also near (the 2,000 tokens around what is asked for).",
    ),
]
Books = Annotated[
    list[str],
    typer.Option(
        "--haystack",
        metavar="BOOK",
        help="Text to read: frankenstein, moby-dick or a file; repeat for several.",
    ),
]
SharedReading = Annotated[
    bool, typer.Option("--shared-reading", help="Read a text once for all that is asked of it.")
]
ResultFile = Annotated[
    Path | None,
    typer.Option(
        "--json",
        metavar="FILE",
        help="Write the result to this file; what it has already, measured in the same way, is not measured again.",
    ),
]
PlotFile = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE.png", help="Draw the result, too; needs pip install 'lcdoc[plot]'."),
]

Cell = TypeVar("Cell")


def run_suite(
    open_suite: "Callable[[], Suite[Cell]]",
    model: str | None,
    display: Display,
    json: Path | None,
    line: Callable[[Cell], str],
    plot: Path | None = None,
) -> "Suite[Cell] | None":
    """Says each cell in a line as it is done, and writes the report anew. None where the user interrupted.

    json: the report's file. One that is there is gone on with, and with nothing left to measure it stays as it is.
    plot: the picture's file, for suites that have pictures.
    """
    from lcdoc.cli.models import require_model

    require_model(model, display)
    from lcdoc.evaluate.plots import check_picture, draw
    from lcdoc.evaluate.report import write_report

    if plot is not None:
        check_picture(plot)
    suite: Suite[Cell] | None = None
    try:
        with interruptible():
            suite = open_suite()
            if json is not None and json.exists():
                suite.resume(json)
                held, total = len(suite.cells), suite.num_cells
                left = f"{held} of {total} cells are there" if held < total else "nothing left to measure"
                others = ", ".join(str(commit) for commit in suite.other_commits)
                display.say(f"{json}: {left}{f', measured at commit {others}' if others else ''}")
            elif json is not None:
                write_report(json, suite.report())  # a file that can't be written costs no reading
            for cell in suite.run(display):
                display.say(f"{len(suite.cells)} of {suite.num_cells}: {line(cell)}")
                if json is not None:
                    write_report(json, suite.report())
        if plot is not None:
            draw([("", suite.report())], plot)
            display.say(f"picture written to {plot}")
    except KeyboardInterrupt:
        display.clear()
        done = f" after {len(suite.cells)} of {suite.num_cells} cells" if suite else ""
        again = "; the same command goes on from there" if suite and json is not None else ""
        display.say(f"interrupted{done}{again}")
        return None
    finally:
        display.clear()
    return suite
