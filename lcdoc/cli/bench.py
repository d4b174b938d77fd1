"""`lcdoc bench prefill|decode|memory`: speed and memory, measured beside stock transformers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.measures import bytes_text
from lcdoc.cli.measuring import measure_all
from lcdoc.cli.reading import weighed_reading
from lcdoc.cli.tables import print_table, split_names, split_numbers
from lcdoc.config import ReadSettings, Settings

if TYPE_CHECKING:
    from lcdoc.bench.comparison import Comparison
    from lcdoc.bench.subject import Subject

STOCK = "stock"
WHATS = {
    "prefill": "Measure reading speed, each mode beside stock transformers.",
    "decode": "Measure answering speed, each mode beside stock transformers.",
    "memory": "Measure peak memory, each mode beside stock transformers.",
}
Shape = Annotated[
    str | None,
    typer.Option(
        help="Random weights of this shape: llama-tiny, smollm2-135m, smollm2-2-layers or llama-3-8b."
    ),
]
ModelConfig = Annotated[
    str | None, typer.Option(metavar="FILE", help="Random weights, shaped by this config.json.")
]
Lengths = Annotated[str, typer.Option(metavar="N,N,...", help="Tokens read before each measurement.")]
Modes = Annotated[
    str,
    typer.Option(
        metavar="MODE,...",
        help="exact, stream, duo, duo@75%, duo@75%+int8+sparse+pages, int8, int4; stock is always there.",
    ),
]
Repeats = Annotated[int, typer.Option(help="How often each is measured.")]
Text = Annotated[
    str | None,
    typer.Option(metavar="FILE", help="Read this document's first tokens; by default random ones are read."),
]
ResultFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write the result to this file.")
]
PlotFile = Annotated[
    Path | None,
    typer.Option("--plot", metavar="FILE.png", help="Draw the result, too; needs pip install 'lcdoc[plot]'."),
]


def bench_command(what: str) -> Callable[..., int]:
    """The command that measures it. what: one of WHATS."""

    @weighed_reading
    def command(
        settings: Settings,
        model: options.Model = None,
        shape: Shape = None,
        model_config: ModelConfig = None,
        lengths: Lengths = "1024,4096,8192",
        modes: Modes = "exact,stream",
        repeats: Repeats = 3,
        text: Text = None,
        json: ResultFile = None,
        plot: PlotFile = None,
    ) -> int:
        display = open_display(settings.appearance)
        from lcdoc.bench.curves import draw_curves
        from lcdoc.bench.run import Bench
        from lcdoc.bench.turns import Turns
        from lcdoc.evaluate.plots import check_picture

        if plot is not None:
            check_picture(plot)
        read = settings.read
        subject = subject_of(read, model, shape, model_config)
        turns = Turns(split_numbers(lengths, "--lengths"), split_names(modes), repeats)
        bench = Bench(what, subject, read, turns, text)
        turns_done = f"{{}} of {turns.number} turns".format
        if not measure_all(bench, bench.run(display), partial(_line, what), turns_done, json, display):
            return INTERRUPTED
        shortest = bench.comparisons[0]
        rows = [row for comparison in bench.comparisons for row in _rows(what, comparison, shortest)]
        columns, title = ["tokens, mode", "median", "least", "most", "stock took"], what
        if what == "prefill":
            columns.append("rate")
            title += f"; rate: tokens a second, of those at {shortest.length_tokens:,}"
        print_table(title, columns, rows)
        if plot is not None:
            draw_curves(what, bench.report(), plot)
            display.say(f"picture written to {plot}")
        return 0

    return command


def subject_of(
    read: ReadSettings, model: str | None, shape: str | None, model_config: str | None
) -> "Subject":
    """What is measured: the model of the settings, where the command names none."""
    from lcdoc.bench.subject import Subject

    if model is None and shape is None and model_config is None:
        model = read.model
    return Subject(model, shape, model_config, read.device, read.dtype)


def _line(what: str, comparison: "Comparison") -> str:
    modes = (
        f"{mode} {_amount(what, median(samples))} (stock took {comparison.ratio(mode):.2f} times as much)"
        for mode, samples in comparison.samples.items()
        if mode != STOCK
    )
    stock = _amount(what, median(comparison.samples[STOCK]))
    turn = f"{comparison.length_tokens:,} tokens, turn {len(comparison.samples[STOCK])}"
    return "; ".join((f"{turn}: {STOCK} {stock}", *modes))


def _rows(what: str, comparison: "Comparison", shortest: "Comparison") -> list[list[str]]:
    return [
        [
            f"{comparison.length_tokens:,} {mode}",
            *(_amount(what, value) for value in (median(samples), min(samples), max(samples))),
            f"{comparison.ratio(mode):.2f}x",
            *([f"{median(comparison.rates(mode, shortest)):.0%}"] if what == "prefill" else []),
        ]
        for mode, samples in comparison.samples.items()
    ]


def _amount(what: str, value: float) -> str:
    if what == "memory":
        return bytes_text(int(value))
    return f"{value:.2f} s" if what == "prefill" else f"{value * 1000:.1f} ms"
