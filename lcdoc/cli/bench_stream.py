"""`lcdoc bench stream`: memory and speed over a long text without end, by tenth."""

from typing import Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.bench import ModelConfig, ResultFile, Shape, subject_of
from lcdoc.cli.display import open_display
from lcdoc.cli.evaluate import Books
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.measures import bytes_text
from lcdoc.cli.reading import reading
from lcdoc.cli.tables import print_table
from lcdoc.config import Settings

Tokens = Annotated[int, typer.Option(metavar="N", help="How many tokens are read.")]
Ask = Annotated[str | None, typer.Option(metavar="QUESTION", help="What is kept is kept for this question.")]
Keep = Annotated[int | None, typer.Option(help="Tokens of what left the window that stay.", min=0)]
Every = Annotated[
    int | None, typer.Option(metavar="N", help="Write a digest, or an answer, after so many tokens.")
]


@reading
def bench_stream_command(
    settings: Settings,
    model: options.Model = None,
    shape: Shape = None,
    model_config: ModelConfig = None,
    tokens: Tokens = 100_000,
    ask: Ask = None,
    keep: Keep = None,
    every: Every = None,
    haystack: Books = ["moby-dick", "frankenstein"],  # noqa: B006
    json: ResultFile = None,
) -> int:
    """Measure memory and reading speed of `lcdoc stream`, by tenth of a long text."""
    display = open_display(settings.appearance)
    from lcdoc.bench.stream import StreamBench
    from lcdoc.evaluate.report import write_report
    from lcdoc.tasks.stream.opening import StreamWish

    read = settings.read
    subject = subject_of(read, model, shape, model_config)
    bench: StreamBench | None = None
    try:
        with interruptible():
            bench = StreamBench(
                subject, read, StreamWish(ask, keep, notes=False), tuple(haystack), tokens, every
            )
            for tenth in bench.run(display):
                display.say(
                    f"{tenth.tokens:,} tokens: {tenth.tokens_per_s:,.0f} tokens/s, {bytes_text(tenth.most_bytes)}"
                )
                if json is not None:
                    write_report(json, bench.report())
    except KeyboardInterrupt:
        display.clear()
        display.say(f"interrupted after {len(bench.tenths) if bench else 0} tenths")
        return INTERRUPTED
    finally:
        display.clear()
    rows = [
        [f"{tenth.tokens:,}", f"{tenth.tokens_per_s:,.0f}", bytes_text(tenth.most_bytes)]
        for tenth in bench.tenths
    ]
    print_table("stream", ["tokens up to", "tokens/s", "memory"], rows)
    return 0
