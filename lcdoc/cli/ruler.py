"""`lcdoc eval ruler`: finding, tracing and counting in long texts."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import evaluate
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.reading import extended_reading
from lcdoc.cli.tables import Shaded, print_table, split_names, split_numbers
from lcdoc.config import Settings

if TYPE_CHECKING:
    from lcdoc.evaluate.ruler.plan import RulerPlan
    from lcdoc.evaluate.ruler.suite import RulerCell

Lengths = Annotated[str, typer.Option(metavar="N,N,...", help="Tokens of each text.")]
Tasks = Annotated[
    str | None,
    typer.Option(
        metavar="TASK,...",
        help="single, multikey, stack, multivalue, multiquery, variables, common, frequent and qa; by default all.",
    ),
]
Samples = Annotated[int, typer.Option(metavar="N", help="How many texts of each task and length.")]
Seed = Annotated[int, typer.Option(metavar="N", help="Another one draws other texts.")]
Book = Annotated[
    str, typer.Option(metavar="BOOK", help="Text to hide things in: frankenstein, moby-dick or a file.")
]
Qa = Annotated[
    Path | None,
    typer.Option("--qa", metavar="FILE", help="Questions for the task qa, as lcdoc eval qa takes them."),
]


@extended_reading
def ruler_command(
    settings: Settings,
    lengths: Lengths = "1000,4000",
    tasks: Tasks = None,
    samples: Samples = 5,
    seed: Seed = 0,
    mode: evaluate.Modes = "exact,stock",
    haystack: Book = "frankenstein",
    qa: Qa = None,
    json: evaluate.ResultFile = None,
    plot: evaluate.PlotFile = None,
) -> int:
    """Set RULER's kinds of tasks: find needles, follow variables, count words, answer questions.

    Each text is made for its length. single: one needle; multikey: with three of other keys beside it; stack: in a text
    of nothing but needles; multivalue: four of one key; multiquery: four keys at once; variables: who holds a value, by
    chains of assignments; common, frequent: the words that a list has most often; qa: questions of a file, each with
    its own text among those of others. A score is the share of what is right that was said; of qa, whether any was.
    """
    display = open_display(settings.appearance)
    from lcdoc.evaluate.ruler.plan import DRAWN, QA, RulerPlan
    from lcdoc.evaluate.ruler.suite import RulerTest

    if tasks is None and qa is None:
        display.say(f"the task {QA} is left out: it needs a file of questions, given with --qa")
    known = (*DRAWN, QA) if qa is not None else tuple(DRAWN)
    plan = RulerPlan(
        lengths=split_numbers(lengths, "--lengths"),
        tasks=known if tasks is None else split_names(tasks),
        samples=samples,
        seed=seed,
        modes=split_names(mode),
        book=haystack,
    )
    suite = evaluate.run_suite(
        lambda: RulerTest(settings.read, plan, qa), settings.read.model, display, json, _line, plot
    )
    if suite is None:
        return INTERRUPTED
    _print_scores(plan, suite.cells, settings.appearance.color != "never")
    return 0


def _line(cell: "RulerCell") -> str:
    place = f"{cell.mode}, {cell.length_tokens:,} tokens, {cell.task}, sample {cell.sample}"
    return f"{place}: {cell.score:.2f}: {cell.answer}"


def _print_scores(plan: "RulerPlan", cells: list["RulerCell"], colors: bool) -> None:
    """A row for each length and task, a column for each mode."""
    from lcdoc.evaluate.ruler.suite import score

    totals = score(cells)
    rows: list[list[str | Shaded]] = []
    for length in plan.lengths:
        for task in (*plan.tasks, "all"):
            means = [totals[mode][str(length)][task]["mean"] for mode in plan.modes]
            rows.append([f"{length:,} {task}", *(Shaded(f"{mean:.3f}", mean) for mean in means)])
    print_table("mean score", ["tokens, task", *plan.modes], rows, colors=colors)
