"""`lcdoc eval stream-perplexity`: how well the last tokens of a long stream are foretold."""

from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.reading import reading
from lcdoc.cli.tables import print_table, split_names
from lcdoc.config import Settings

if TYPE_CHECKING:
    from lcdoc.evaluate.stream_perplexity import TailCell

Length = Annotated[int, typer.Option(metavar="N", help="Tokens of each text.")]
ScoredTokens = Annotated[int, typer.Option(metavar="N", help="How many of them, the last, are scored.")]
Ways = Annotated[
    str,
    typer.Option(
        "--ways",
        help="sinks (first and last tokens), kept (these and what surprised), no-sinks (last tokens alone), fresh (the "
        "last tokens, read anew for every block).",
    ),
]
Window = Annotated[int, typer.Option(metavar="N", help="Last tokens that are held.")]
Keep = Annotated[int, typer.Option(help="Tokens of what left the window that stay, in `kept`.", min=0)]
Sinks = Annotated[int, typer.Option(help="First tokens that are held.", min=1)]


@reading
def stream_perplexity_command(
    settings: Settings,
    length: Length = 20_000,
    scored_tokens: ScoredTokens = 2048,
    ways: Ways = "sinks,kept,no-sinks,fresh",
    window: Window = 2048,
    keep: Keep = 1024,
    sinks: Sinks = 8,
    haystack: evaluate.Books = ["moby-dick"],  # noqa: B006
    json: evaluate.ResultFile = None,
) -> int:
    """Measure the perplexity of a long stream's last tokens, beside a fresh window's."""
    display = open_display(settings.appearance)
    from lcdoc.evaluate.stream_perplexity import LongText, TailTest

    read = settings.read
    books = tuple(dict.fromkeys(haystack))
    text = LongText(
        length,
        scored_tokens,
        split_names(ways),
        books,
        sinks,
        window,
        keep,
        min(read.chunk_tokens, window // 4),
    )
    suite = evaluate.run_suite(lambda: TailTest(read, text), read.model, display, json, _line)
    if suite is None:
        return INTERRUPTED
    rows = []
    for way, total in suite.score().items():
        ratio = total["ratio_to_fresh"]
        rows.append([way, f"{total['perplexity']:.3f}", "-" if ratio is None else f"{ratio:.4f}"])
    print_table(f"last {scored_tokens:,} of {length:,} tokens", ["way", "perplexity", "ratio to fresh"], rows)
    return 0


def _line(cell: "TailCell") -> str:
    return f"{cell.way}, {cell.book}, {cell.length_tokens:,} tokens: perplexity {cell.perplexity:.3f}"
