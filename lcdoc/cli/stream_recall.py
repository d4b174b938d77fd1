"""`lcdoc eval stream`: whether what a stream told once is found again."""

from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.needle import Templates
from lcdoc.cli.reading import reading
from lcdoc.cli.tables import print_table, split_names
from lcdoc.config import Settings

if TYPE_CHECKING:
    from lcdoc.evaluate.stream_recall import RecallCell

Distance = Annotated[int, typer.Option(metavar="N", help="Tokens between the fact and its question.")]
Seeds = Annotated[int, typer.Option(help="How many facts.")]
Ways = Annotated[
    str,
    typer.Option(
        "--ways",
        help="asked (kept for the question), blind (kept without knowing it), window (nothing kept).",
    ),
]
Book = Annotated[str, typer.Option(metavar="BOOK", help="Text to read: frankenstein, moby-dick or a file.")]
Keep = Annotated[int | None, typer.Option(help="Tokens of what left the window that stay.", min=0)]


@reading
def stream_recall_command(
    settings: Settings,
    distance: Distance = 20_000,
    seeds: Seeds = 10,
    ways: Ways = "asked,blind,window",
    templates: Templates = "magic",
    haystack: Book = "moby-dick",
    keep: Keep = None,
    json: evaluate.ResultFile = None,
) -> int:
    """Tell a fact once in a stream, and ask for it much later."""
    display = open_display(settings.appearance)
    from lcdoc.evaluate.stream_recall import RecallTest, Telling

    telling = Telling(distance, seeds, split_names(ways), split_names(templates), haystack, keep)
    suite = evaluate.run_suite(
        lambda: RecallTest(settings.read, telling), settings.read.model, display, json, _line
    )
    if suite is None:
        return INTERRUPTED
    rows = [
        [way, f"{total['found']}/{total['told']}", f"{total['held']}/{total['told']}"]
        for way, total in suite.score().items()
    ]
    print_table(f"facts told {distance:,} tokens ago", ["way", "found", "still held"], rows)
    return 0


def _line(cell: "RecallCell") -> str:
    verdict = "right" if cell.right else f"wrong, not {cell.value}"
    return f"{cell.way}, seed {cell.seed}, {cell.distance_tokens:,} tokens ago: {verdict}: {cell.answer}"
