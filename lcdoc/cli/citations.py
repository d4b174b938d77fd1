"""`lcdoc eval citations`: whether sentences are cited with the right page."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.reading import reading
from lcdoc.cli.tables import print_table
from lcdoc.config import Settings

if TYPE_CHECKING:
    from lcdoc.evaluate.citations import CitationCell

File = Annotated[Path, typer.Argument(metavar="FILE", help="Questions with pages: .jsonl.")]
Documents = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where the documents are; by default docs beside FILE.")
]
TokensRead = Annotated[
    int, typer.Option("--tokens", metavar="N", help="Read so much of each document, around the right page.")
]
Limit = Annotated[int | None, typer.Option(metavar="N", help="Ask at most so many, spread over the file.")]


@reading
def citations_command(
    settings: Settings,
    file: File,
    documents: Documents = None,
    tokens: TokensRead = 2000,
    limit: Limit = None,
    json: evaluate.ResultFile = None,
) -> int:
    """Ask questions whose page is known, and count the sentences that are cited with it, by confidence.

    Each line of the file is a JSON object: "id", "file", "question", "answers" and "page". What counts are sentences
    without a quote, cited by what the model looked at while it wrote them: those of its answers that are right, and the
    right answers, which it is made to write. The table shows for each threshold of confidence how many are cited and
    how many of these with the right page; the threshold goes to the model's profile, under `citing`.
    """
    display = open_display(settings.appearance)
    from lcdoc.evaluate.citations import CitationTest, score
    from lcdoc.evaluate.triple_suite import TriplesPlan

    plan, folder = TriplesPlan(tokens, limit), documents or file.parent / "docs"
    suite = evaluate.run_suite(
        lambda: CitationTest(settings.read, file, folder, plan), settings.read.model, display, json, _line
    )
    if suite is None:
        return INTERRUPTED
    total = score(suite.cells)
    rows = [
        [
            f"{row['threshold']:.2f}",
            *(
                text
                for kind in ("own", "dictated")
                for text in _shares(row[kind], total[f"{kind}_sentences"])
            ),
        ]
        for row in total["by_threshold"]
    ]
    columns = ["threshold", "own cited", "right page", "dictated cited", "right page"]
    print_table("citations by attention, of right answers", columns, rows)
    typer.echo(f"lowest threshold with enough right pages: {total['threshold']}")
    typer.echo(f"verified quotes that stand on the page named: {total['quotes_right']}/{total['quotes']}")
    return 0


def _shares(found: dict[str, int], num_sentences: int) -> tuple[str, str]:
    cited, right = found["cited"], found["right"]
    return f"{cited}/{num_sentences}", f"{right}/{cited} {right / cited:.0%}" if cited else ""


def _line(cell: "CitationCell") -> str:
    found = ", ".join(
        f"{confidence:.2f} {'right' if right else 'wrong'}"
        for confidence, right in zip(cell.confidences, cell.rights, strict=True)
    )
    dictated = "no page"
    if cell.dictated is not None:
        dictated = f"{cell.dictated:.2f} {'right' if cell.dictated_right else 'wrong'}"
    own = f"{'right' if cell.answered else 'wrong'} answer, pages {found or 'none'}"
    return f"{cell.id}, {cell.num_pages} pages: {own}; dictated {dictated}: {cell.answer}"
