"""`lcdoc eval ranking`: how high the right page's passages rank when a document is read in parts."""

from typing import TYPE_CHECKING

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.citations import Documents, File, Limit, TokensRead
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.reading import reading
from lcdoc.cli.tables import print_table
from lcdoc.config import Settings

if TYPE_CHECKING:
    from lcdoc.evaluate.ranking import RankingCell


@reading
def ranking_command(
    settings: Settings,
    file: File,
    documents: Documents = None,
    tokens: TokensRead = 6000,
    limit: Limit = None,
    json: evaluate.ResultFile = None,
) -> int:
    """Read documents in parts, and see how high the passages of the page rank that is known to answer.

    Each line of the file is a JSON object: "id", "file", "question", "answers" and "page". The table shows how often
    the right page comes first, and how often among the first passages, by what the question attends to, by the words in
    common, by how likely passages make the question, and by these together, as `lcdoc ask` chooses what it reads again.
    Questions that follow each other and have the same pages around them share a reading.
    """
    display = open_display(settings.appearance)
    from lcdoc.evaluate.ranking import RankingTest, score
    from lcdoc.evaluate.triple_suite import TriplesPlan

    plan, folder = TriplesPlan(tokens, limit), documents or file.parent / "docs"
    suite = evaluate.run_suite(
        lambda: RankingTest(settings.read, file, folder, plan), settings.read.model, display, json, _line
    )
    if suite is None:
        return INTERRUPTED
    count, total = len(suite.cells), score(suite.cells)
    rows = [
        [
            judge.replace("_", " "),
            f"{ranks['mean_reciprocal_rank']:.3f}",
            *(f"{ranks[f'first_{most}']}/{count}" for most in (1, 3, 6)),
        ]
        for judge, ranks in total["judges"].items()
    ]
    print_table("rank of the right page", ["judged by", "mean of 1/rank", "first", "of 3", "of 6"], rows)
    typer.echo(
        f"right page read again: {total['reread']}/{count}; right answers: {total['answered']}/{count}"
    )
    return 0


def _line(cell: "RankingCell") -> str:
    ranks = ", ".join(f"{judge.replace('_', ' ')} {rank or 'none'}" for judge, rank in cell.ranks.items())
    again = (
        f"{'' if cell.reread else 'not '}read again, {'right' if cell.answered else 'wrong'}: {cell.answer}"
    )
    return f"{cell.id}, {cell.num_passages} passages: {ranks}; {cell.sweep_s:.0f} s; {again}"
