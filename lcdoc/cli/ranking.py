"""`lcdoc eval ranking`: how high the right page's passages rank when a document is read in parts."""

from typing import TYPE_CHECKING

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
    count = len(suite.cells)
    rows = [
        [
            judge.replace("_", " "),
            f"{total['mean_reciprocal_rank']:.3f}",
            *(f"{total[f'first_{most}']}/{count}" for most in (1, 3, 6)),
        ]
        for judge, total in score(suite.cells).items()
    ]
    print_table("rank of the right page", ["judged by", "mean of 1/rank", "first", "of 3", "of 6"], rows)
    return 0


def _line(cell: "RankingCell") -> str:
    ranks = ", ".join(f"{judge.replace('_', ' ')} {rank or 'none'}" for judge, rank in cell.ranks.items())
    return f"{cell.id}, {cell.num_passages} passages: {ranks}; {cell.sweep_s:.0f} s"
