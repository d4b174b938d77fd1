"""`lcdoc extend`: searching how a model's positions are best taken beyond its window."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.calibrate import ModelName, Output
from lcdoc.cli.display import Display, open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.measures import clock
from lcdoc.cli.plan import parse_tokens
from lcdoc.cli.tables import print_table

if TYPE_CHECKING:
    from lcdoc.calibrate.search import Search, Step

Length = Annotated[
    str | None,
    typer.Option(
        metavar="N", help="Tokens to search for: 16384, 16k or 16Ki; by default twice the model's window."
    ),
]
Evaluations = Annotated[int, typer.Option(metavar="N", help="Candidates to score, the three seeds included.")]
TextTokens = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Tokens read for each score, spread over the length; by default half of it."
    ),
]
HeldOutTokens = Annotated[
    int | None,
    typer.Option(metavar="N", help="Tokens read for the comparison at the end; by default the whole length."),
]
Needles = Annotated[int, typer.Option(metavar="N", help="Sentences hidden in the text and asked for.")]
TailWeight = Annotated[
    float,
    typer.Option(metavar="X", help="Weight of the last tokens' log perplexity beside the needles' NLL."),
]
Seed = Annotated[int, typer.Option(help="Start of the random draws.")]
Book = Annotated[
    str,
    typer.Option(
        "--haystack",
        metavar="BOOK",
        help="Text to search on: frankenstein, moby-dick or a file; the comparison takes another.",
    ),
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew where a search was interrupted.")]
ResultFile = Annotated[
    Path | None, typer.Option("--json", metavar="FILE", help="Write all that was measured to this file.")
]
PlotFile = Annotated[
    Path | None,
    typer.Option(
        "--plot", metavar="FILE.png", help="Draw score against evaluations; needs pip install 'lcdoc[plot]'."
    ),
]


def extend_command(
    model: ModelName = None,
    length: Length = None,
    evaluations: Evaluations = 64,
    text_tokens: TextTokens = None,
    held_out_tokens: HeldOutTokens = None,
    needles: Needles = 10,
    tail_weight: TailWeight = 1.0,
    haystack: Book = "frankenstein",
    seed: Seed = 0,
    output: Output = None,
    json: ResultFile = None,
    plot: PlotFile = None,
    restart: Restart = False,
    device: options.Device = None,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Search LongRoPE's rescale factors, and write them to the model's profile.

    Candidates begin with position interpolation, NTK and YaRN. Each is scored by the negative log likelihood of hidden
    sentences, asked for at the end, and by the perplexity of the last tokens. The best is compared with NTK on another
    book, and written only where it is better. An interrupted search goes on when the same command is given again.
    """
    settings = options.settings_of(model=model, device=device, dtype=dtype, quiet=quiet, no_color=no_color)
    display = open_display(settings.appearance)
    length_tokens = None if length is None else parse_tokens(length, "--length")
    from lcdoc.calibrate.search import Goal, Search
    from lcdoc.cli.models import require_model
    from lcdoc.evaluate.plots import check_picture
    from lcdoc.evaluate.report import write_report

    if plot is not None:
        check_picture(plot)
    goal = Goal(
        length_tokens, evaluations, text_tokens, held_out_tokens, needles, tail_weight, haystack, seed
    )
    require_model(settings.read.model, display)
    search = Search(settings.read, goal)
    path = output or search.path
    path.parent.mkdir(parents=True, exist_ok=True)
    checkpoint = path.with_name(f"{path.name}.extend.partial")
    if restart:
        checkpoint.unlink(missing_ok=True)
    try:
        with interruptible():
            _search(search, checkpoint, display)
    except KeyboardInterrupt:
        display.clear()
        display.say("interrupted; the same command goes on from the last evaluation")
        return INTERRUPTED
    finally:
        display.clear()
    if search.beats_seed:
        search.profile().save(path)
    if json is not None:
        write_report(json, search.report())
    if plot is not None:
        _draw(search, plot)
    checkpoint.unlink(missing_ok=True)
    _print_outcome(search)
    if search.beats_seed:
        use = (
            f"use it with --profile {path} --extend longrope" if output else "take it with --extend longrope"
        )
        display.say(f"written to {path}; {use}")
    else:
        display.say(
            "nothing found that beats NTK on the held-out text; NTK stays, and no profile was written"
        )
    return 0


def _search(search: "Search", checkpoint: Path, display: Display) -> None:
    """Both texts, each step said as it is done."""
    say = _progress(display, search.goal.evaluations)
    for step in search.run(checkpoint, display):
        say(step)
    for method, score in search.hold_out(checkpoint, display):
        display.say(
            f"held out, {method}: needle NLL {score.needle_nll:.4f}, tail perplexity {score.tail_perplexity:.3f}"
        )


def _progress(display: Display, evaluations: int) -> "Callable[[Step], None]":
    """Says a step in a line, with the time that the others will take."""
    started_s, first = time.monotonic(), 0

    def say(step: "Step") -> None:
        nonlocal first
        first = first or step.number
        passed_s = time.monotonic() - started_s
        left_s = passed_s / (step.number - first + 1) * (evaluations - step.number)
        display.say(
            f"{step.number} of {evaluations}: score {step.total:.4f} (needle NLL {step.score.needle_nll:.4f}, "
            f"tail perplexity {step.score.tail_perplexity:.3f}), best {step.best:.4f}, {clock(left_s)} left"
        )

    return say


def _draw(search: "Search", plot: Path) -> None:
    from lcdoc.calibrate.curve import save_curve_png
    from lcdoc.calibrate.search import SEEDS

    scores = [search.told(score)["score"] for _, score in search.trials.candidates]
    title = f"LongRoPE search for {search.length_tokens:,} tokens"
    save_curve_png(scores, dict(zip(SEEDS, scores, strict=False)), title, plot)


def _print_outcome(search: "Search") -> None:
    """The best score by evaluations spent, then the scores on the held-out text."""
    best = search.best_scores
    numbers = [1 << power for power in range(2, len(best).bit_length()) if 1 << power < len(best)]
    rows = [[f"{number:,}", f"{best[number - 1]:.4f}"] for number in [*numbers, len(best)]]
    print_table("score by search budget, on the text searched on", ["evaluations", "best score"], rows)
    held_out = {method: search.told(score) for method, score in search.trials.held_out.items()}
    print_table(
        f"held out: {search.held_out_exam.book}, {search.length_tokens:,} tokens",
        ["method", "score", "needle NLL", "tail perplexity"],
        [
            [
                method,
                f"{told['score']:.4f}",
                f"{told['needle_nll']:.4f}",
                f"{told['tail_perplexity']:.3f}",
            ]
            for method, told in held_out.items()
        ],
    )
