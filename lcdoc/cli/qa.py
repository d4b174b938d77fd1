"""`lcdoc eval qa`: questions with answers known to be right."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.reading import extended_reading
from lcdoc.cli.tables import print_table, split_names
from lcdoc.config import Settings

if TYPE_CHECKING:
    from lcdoc.evaluate.qa import QaCell

File = Annotated[Path, typer.Argument(metavar="FILE", help="Questions: .jsonl or .jsonl.gz.")]
MaxTokens = Annotated[int, typer.Option(metavar="N", help="Leave out texts of more tokens.")]
MinTokens = Annotated[int, typer.Option(metavar="N", help="Leave out texts of fewer tokens.")]
Limit = Annotated[
    int | None, typer.Option(metavar="N", help="Ask at most so many, spread evenly over the file.")
]


@extended_reading
def qa_command(
    settings: Settings,
    file: File,
    max_tokens: MaxTokens = 8000,
    min_tokens: MinTokens = 1,
    limit: Limit = None,
    mode: evaluate.Modes = "exact",
    shared_reading: evaluate.SharedReading = False,
    json: evaluate.ResultFile = None,
) -> int:
    """Ask questions with known answers, from a file, and score what comes back.

    Each line of the file is a JSON object: "context" (the whole text), "question", "answers" (a list; one of them is
    enough) and "metric": f1 (shared words), choice (the letter of an option that the question lists), contains (the
    answer stands in what was said), rouge (ROUGE-L), number (the share of the numbers said that are right), edit (a
    line of code, by its letters) or class (one of those in "classes"). "id" and "source" are copied into the result.
    LongBench's own files, of either version, are taken as they are; the prompts are lcdoc's own.
    """
    display = open_display(settings.appearance)
    from lcdoc.evaluate.qa import QaPlan, QaTest, score

    plan = QaPlan(max_tokens, limit, split_names(mode), shared_reading, min_tokens)
    suite = evaluate.run_suite(
        lambda: QaTest(settings.read, file, plan), settings.read.model, display, json, _line
    )
    if suite is None:
        return INTERRUPTED
    rows = [
        [f"{metric} {name}", f"{total['mean']:.3f}", str(total["cells"])]
        for name, by_metric in score(suite.cells).items()
        for metric, total in by_metric.items()
    ]
    print_table("mean score", ["metric, mode", "score", "questions"], rows)
    return 0


def _line(cell: "QaCell") -> str:
    return f"{cell.mode}, {cell.id}, {cell.prompt_tokens:,} tokens: {cell.metric} {cell.score:.2f}: {cell.answer}"
