"""`lcdoc eval perplexity`: how well a long text's last tokens are foretold."""

from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.reading import extended_reading
from lcdoc.cli.tables import print_table, split_names
from lcdoc.config import Settings

if TYPE_CHECKING:
    from lcdoc.evaluate.perplexity import WindowCell

Length = Annotated[int, typer.Option(metavar="N", help="Tokens of each stretch of text.")]
ScoredTokens = Annotated[int, typer.Option(metavar="N", help="How many of them, the last, are scored.")]
Windows = Annotated[int, typer.Option(metavar="N", help="Stretches of each text, spread evenly over it.")]


@extended_reading
def perplexity_command(
    settings: Settings,
    length: Length = 4096,
    scored_tokens: ScoredTokens = 512,
    windows: Windows = 4,
    mode: evaluate.Modes = "exact,int8,int4",
    haystack: evaluate.Books = ["frankenstein"],  # noqa: B006
    json: evaluate.ResultFile = None,
) -> int:
    """Measure the perplexity of a long text's last tokens, beside exact reading."""
    display = open_display(settings.appearance)
    from lcdoc.evaluate.perplexity import PerplexityTest, Stretches, score

    stretches = Stretches(length, scored_tokens, windows, split_names(mode), tuple(dict.fromkeys(haystack)))
    suite = evaluate.run_suite(
        lambda: PerplexityTest(settings.read, stretches), settings.read.model, display, json, _line
    )
    if suite is None:
        return INTERRUPTED
    rows = []
    for name, total in score(suite.cells).items():
        ratio = total["ratio_to_exact"]
        rows.append([name, f"{total['perplexity']:.4f}", "-" if ratio is None else f"{ratio:.5f}"])
    title = f"last {scored_tokens:,} of {length:,} tokens"
    print_table(title, ["mode", "perplexity", "ratio to exact"], rows)
    return 0


def _line(cell: "WindowCell") -> str:
    place = f"{cell.mode}, {cell.book} from token {cell.start_token:,}, {cell.length_tokens:,} tokens"
    return f"{place}: perplexity {cell.perplexity:.4f}"
