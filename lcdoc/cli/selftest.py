"""`lcdoc selftest`: whether a reading of the user's own documents finds what stands in them."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.ask import parse
from lcdoc.cli.display import Display, open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.measures import count
from lcdoc.cli.output import json_text
from lcdoc.cli.reading import document_reading
from lcdoc.cli.sanitize import clean_line
from lcdoc.cli.totals import page_name, plan_line, totals_line
from lcdoc.config import Settings
from lcdoc.documents.document import Document
from lcdoc.errors import LcdocError, UsageError
from lcdoc.tasks.answer import Receipt
from lcdoc.tasks.progress import Progress

if TYPE_CHECKING:
    from lcdoc.evaluate.selftest import SelfTest, Trial
    from lcdoc.tasks.opening import AnyReading

SHARE = re.compile(r"(\d{1,3}(?:\.\d{1,6})?)%")

Depths = Annotated[
    int, typer.Option(metavar="N", help="How many depths a sentence is hidden at, start to end.")
]
Seeds = Annotated[int, typer.Option(metavar="N", help="How many sentences at each depth.")]
MinRecall = Annotated[
    str | None, typer.Option(metavar="SHARE", help="End with exit code 1 where less is found, such as 90%.")
]


@document_reading
def selftest_command(
    settings: Settings,
    files: options.Files,
    depths: Depths = 5,
    seeds: Seeds = 1,
    min_recall: MinRecall = None,
    pages: options.Pages = None,
    password: options.Password = None,
    json: options.Json = False,
) -> int:
    """Hide sentences in your own documents and see which of them a reading finds.

    The documents are read as `lcdoc ask` would read them with the same options. What is missed is asked for again of an
    exact reading where the budget allows one: that tells whether the settings or the model itself missed it.
    """
    least = None if min_recall is None else parse_share(min_recall)
    display = open_display(settings.appearance)
    test: SelfTest | None = None
    interrupted = False
    try:
        with interruptible():
            from lcdoc.documents.source import expand_sources

            documents = parse(expand_sources(files), pages, password, display)
            units = {document.source: document.unit for document in documents}
            test = _open_test(documents, settings, depths, seeds, display)
            for trial in test.run():
                display.say(_line(trial, units))
    except KeyboardInterrupt:
        interrupted = True
    finally:
        display.clear()
        if test is not None and test.trials:
            display.say(totals_line(test.answers))
            if json:
                typer.echo(json_text(test.report(), indent=2))
            else:
                _print_trials(test, units)
    if interrupted or test is None:
        done = f" after {len(test.trials)} of {count(test.num_trials, 'sentence')}" if test else ""
        display.say(f"interrupted{done}")
        return INTERRUPTED
    if least is not None and test.num_found < least * test.num_trials:
        raise LcdocError(f"{test.num_found} of {test.num_trials} found, less than --min-recall {min_recall}")
    return 0


def _open_test(
    documents: list[Document], settings: Settings, depths: int, seeds: int, display: Display
) -> "SelfTest":
    from lcdoc.cli.models import require_model

    require_model(settings.read.model, display)
    display(Progress("load", 0, 0, 0.0, 0, 0))
    from lcdoc.evaluate.selftest import Layout, SelfTest

    return SelfTest(
        documents,
        settings.read,
        settings.sampling,
        Layout(depths, seeds),
        observer=display,
        on_note=display.say,
        on_plan=_PlanLine(display),
    )


def parse_share(text: str) -> float:
    """ "90%" -> 0.9. Raises UsageError for what is no share."""
    match = SHARE.fullmatch(text.strip())
    if match is None or float(match[1]) > 100:
        raise UsageError(f"--min-recall must be a share from 0% to 100%, not {text!r}")
    return float(match[1]) / 100


class _PlanLine:
    """Says how the documents are read, once for readings that are alike."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._said: tuple[str, str] | None = None

    def __call__(self, reading: "AnyReading") -> None:
        plan = reading.plan
        if self._said != (plan.rung, plan.loss):
            self._display.say(plan_line(plan, reading.budget_bytes))
            self._said = plan.rung, plan.loss


def _line(trial: "Trial", units: dict[str, str]) -> str:
    place = f"depth {trial.depth:.0%}, {_place(trial, units)}"
    if trial.exact_finds is not None:
        return f"{place}: an exact reading finds it: {trial.exact_finds}"
    return f"{place}: {'found' if trial.found else 'missed'}"


def _place(trial: "Trial", units: dict[str, str]) -> str:
    name = page_name(units[trial.source], trial.label)
    return f"{trial.source}, {name}" if len(units) > 1 else name


def _print_trials(test: "SelfTest", units: dict[str, str]) -> None:
    """A row for each sentence, its answer in full, and the sum of it all."""
    rows = [["depth", "where", "found", "exact finds it", "answer"]]
    for trial in test.trials:
        answer = trial.answer if trial.found else f"(wanted {trial.value}) {trial.answer}"
        verdict = "yes" if trial.found else "no"
        exact = trial.exact_finds or "-"
        rows.append([f"{trial.depth:.0%}", _place(trial, units), verdict, exact, answer])
    if all(trial.exact_finds is None for trial in test.trials):
        rows = [[*row[:3], row[4]] for row in rows]
    rows = [[clean_line(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row, widths[:-1], strict=False)]
        typer.echo("  ".join([*cells, row[-1]]).rstrip())
    last = test.answers[-1]
    loss = f" ({last.plan.loss})" if last.plan.loss else ""
    typer.echo(f"read as: {last.plan.rung}{loss}, {kept_share(last.receipt):.0%} of keys and values held")
    typer.echo(f"{test.num_found} of {len(test.trials)} found{_blame(test.trials)}")


def kept_share(receipt: Receipt) -> float:
    """Of the keys and values of all tokens seen, what is held; the model's own windows count as whole."""
    heads = {kind: number for kind, number in receipt.num_heads.items() if kind != "window"}
    held = sum(receipt.kv_share_kept[kind] * number for kind, number in heads.items())
    return held / sum(heads.values()) if heads else 1.0


def _blame(trials: Sequence["Trial"]) -> str:
    """Whose misses they are, as far as exact readings tell."""
    verdicts = [trial.exact_finds for trial in trials if trial.exact_finds in ("yes", "no")]
    if not verdicts:
        return ""
    return f"; an exact reading finds {verdicts.count('yes')} of the {len(verdicts)} missed"
