"""`lcdoc diff`: what changed from one document to another, both read and both quoted."""

from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.footnotes import footnotes, passage_lines
from lcdoc.cli.measures import count
from lcdoc.cli.reading import answering
from lcdoc.cli.sanitize import clean
from lcdoc.cli.totals import plan_line, totals_line
from lcdoc.config import Settings
from lcdoc.errors import UsageError

if TYPE_CHECKING:
    from lcdoc.tasks.comparison import Change, Comparison

QUESTION = "What changed from the first document to the second?"
Before = Annotated[str, typer.Argument(metavar="BEFORE", help="The first document.")]
After = Annotated[str, typer.Argument(metavar="AFTER", help="The second document.")]
Question = Annotated[str, typer.Argument(help="What is asked of the changes.")]
NumChanges = Annotated[int, typer.Option("--changes", min=0, help="How many changes are shown at most.")]


@answering
def diff_command(
    settings: Settings,
    before: Before,
    after: After,
    question: Question = QUESTION,
    num_changes: NumChanges = 12,
    pages: options.Pages = None,
    password: options.Password = None,
    json: options.Json = False,
) -> int:
    """Answer what changed from one document to another, and quote both sides.

    Both are read by the model, as by `ask`. What differs is also found without it, sentence by sentence: one that was
    only moved or set in other type is no change. Those that share most words with the question come first.
    """
    from lcdoc.cli.ask import load, parse
    from lcdoc.cli.output import json_text
    from lcdoc.cli.questions import checked_questions
    from lcdoc.tasks.comparison import Comparison, changes

    if before == after:
        raise UsageError(f"{before} is given twice; name two documents")
    [question] = checked_questions([question])
    display = open_display(settings.appearance)
    try:
        with interruptible():
            documents = parse([before, after], pages, password, display)
            found = changes(documents[0], documents[1], question)
            answer = None
            if found:
                reading = load(documents, [question], settings, display, display)
                display.say(plan_line(reading.plan, reading.budget_bytes))
                answer = reading.ask(question, settings.sampling, lambda piece: None)
    except KeyboardInterrupt:
        display.clear()
        display.say("interrupted")
        return INTERRUPTED
    finally:
        display.clear()
    comparison = Comparison(before, after, question, len(found), tuple(found[:num_changes]), answer)
    if json:
        typer.echo(json_text(comparison.to_json(), indent=2))
    else:
        _print(comparison)
    if answer is not None:
        display.say(totals_line([answer]))
        return INTERRUPTED if answer.finish_reason == "interrupted" else 0
    return 0


def _print(comparison: "Comparison") -> None:
    """The answer with its footnotes, then each change with both sides."""
    if comparison.answer is None:
        typer.echo("The text of both is the same.")
        return
    typer.echo(clean(comparison.answer.answer))
    notes = footnotes(comparison.answer.citations)
    blocks = ["\n".join(notes)] if notes else []
    shown = comparison.changes
    more = f", {len(shown)} of them here" if len(shown) < comparison.num_changes else ""
    blocks.append(f"{count(comparison.num_changes, 'change')}{more}:")
    blocks += [_sides(change) for change in shown]
    typer.echo("\n" + "\n\n".join(blocks))


def _sides(change: "Change") -> str:
    lines = []
    for sign, side in (("-", change.before), ("+", change.after)):
        if side is not None:
            lines += [f"{sign} {line}" for line in passage_lines([side])]
    return "\n".join(lines)
