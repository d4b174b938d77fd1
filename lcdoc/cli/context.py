"""`lcdoc eval context`: how far back a model's states reach."""

from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.reading import reading
from lcdoc.cli.tables import print_table, split_names, split_numbers
from lcdoc.config import Settings

if TYPE_CHECKING:
    from lcdoc.evaluate.context import ContextCell

Lengths = Annotated[str, typer.Option(metavar="N,N,...", help="Tokens of each text.")]
Distances = Annotated[
    str,
    typer.Option(
        metavar="N,N,...",
        help="Tokens that stay between what is replaced and what is measured; those a length has no room for are left "
        "out.",
    ),
]
Seeds = Annotated[int, typer.Option(help="How many texts and needles of each length.")]


@reading
def context_command(
    settings: Settings,
    lengths: Lengths = "4096",
    distances: Distances = "0,256,1024,2048",
    seeds: Seeds = 2,
    mode: evaluate.Modes = "exact,stream",
    haystack: evaluate.Books = ["frankenstein"],  # noqa: B006
    json: evaluate.ResultFile = None,
) -> int:
    """Measure how much the text far before changes the model's states, and how well a needle there is foretold.

    Change: 0 where replacing all that lies farther back than the distance leaves no trace in the last 128 tokens'
    states, 1 where they become as unlike as those of unrelated texts. Needle NLL: the mean negative log likelihood, in
    nats, of each token of a needle's value, with the needle at that distance.
    """
    display = open_display(settings.appearance)
    from lcdoc.evaluate.context import ContextTest, Reaches, score

    reaches = Reaches(
        lengths=split_numbers(lengths, "--lengths"),
        distances=split_numbers(distances, "--distances"),
        seeds=seeds,
        modes=split_names(mode),
        books=tuple(dict.fromkeys(haystack)),
    )
    suite = evaluate.run_suite(
        lambda: ContextTest(settings.read, reaches), settings.read.model, display, json, _line
    )
    if suite is None:
        return INTERRUPTED
    rows = [
        [f"{int(length):,} {name} {int(distance):,}", f"{total['change']:.4f}", f"{total['needle_nll']:.4f}"]
        for name, by_length in score(suite.cells).items()
        for length, by_distance in by_length.items()
        for distance, total in by_distance.items()
    ]
    print_table(
        "what a far prefix changes, and a needle there",
        ["tokens, mode, distance", "change of states", "needle NLL"],
        rows,
    )
    return 0


def _line(cell: "ContextCell") -> str:
    place = f"{cell.mode}, {cell.length_tokens:,} tokens, distance {cell.distance_tokens:,}, seed {cell.seed}"
    return f"{place} in {cell.book}: change {cell.change:.4f}, needle NLL {cell.needle_nll:.4f}"
