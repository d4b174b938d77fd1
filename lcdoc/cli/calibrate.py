"""`lcdoc calibrate`: which heads of a model need the whole document."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.display import Display, open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.measures import clock
from lcdoc.errors import UsageError

if TYPE_CHECKING:
    from lcdoc.calibrate.calibration import Goal
    from lcdoc.config import ReadSettings
    from lcdoc.engine.profiles import HeadProfile

ModelName = Annotated[
    str | None,
    typer.Argument(
        metavar="[MODEL]", help="A name, a hub id, a folder or a .gguf file; by default the default model."
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "-o",
        "--output",
        metavar="FILE",
        help="Profile to write; by default where each reading finds it.",
    ),
]
Picture = Annotated[Path | None, typer.Option("--png", metavar="FILE", help="Draw the gates as a PNG too.")]
Quick = Annotated[bool, typer.Option("--quick", help="Only look where attention lands; nothing is trained.")]
Steps = Annotated[int, typer.Option(min=5, help="Examples to train on, one at a time.")]
ContextTokens = Annotated[
    int, typer.Option(metavar="N", help="Longest text to train on; the shortest is half.")
]
Seed = Annotated[int, typer.Option(help="Start of the random draws.")]
SinkSize = Annotated[int, typer.Option(min=0, help="First tokens that a streaming head will keep.")]
RecentSize = Annotated[int, typer.Option(min=1, help="Last tokens that a streaming head will keep.")]
Book = Annotated[
    str,
    typer.Option("--haystack", metavar="BOOK", help="Text to train on: frankenstein, moby-dick or a file."),
]
Restart = Annotated[bool, typer.Option("--restart", help="Begin anew where a training was interrupted.")]
FromTsv = Annotated[
    Path | None,
    typer.Option(
        "--from-tsv",
        metavar="FILE",
        help="Take gates that DuoAttention's own code trained; needs no weights.",
    ),
]


def calibrate_command(
    model: ModelName = None,
    output: Output = None,
    png: Picture = None,
    quick: Quick = False,
    steps: Steps = 100,
    context_tokens: ContextTokens = 1536,
    seed: Seed = 0,
    sink_size: SinkSize = 64,
    recent_size: RecentSize = 256,
    haystack: Book = "frankenstein",
    restart: Restart = False,
    from_tsv: FromTsv = None,
    device: options.Device = None,
    dtype: options.Dtype = None,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Find the heads that retrieve, and write them as a head profile.

    Each head's gate says how much of the whole document it needs: 0 for a head that can do with the first tokens and
    the last, 1 for one that can't. An interrupted training goes on when the same command is given again.
    """
    settings = options.settings_of(
        model=model,
        device=device,
        dtype=dtype,
        quiet=quiet,
        no_color=no_color,
    )
    display = open_display(settings.appearance)
    if from_tsv is not None:
        if quick or restart:
            raise UsageError("--from-tsv trains nothing; leave out --quick and --restart")
        from lcdoc.calibrate.importing import import_tsv

        if settings.read.model is None:
            raise UsageError("--from-tsv needs the name of the model that the gates belong to")
        profile = import_tsv(from_tsv, settings.read.model)
        path = output or Path(f"{Path(profile.model).name}.yaml")
    else:
        from lcdoc.calibrate.calibration import Goal
        from lcdoc.calibrate.passkeys import Recipe
        from lcdoc.calibrate.training import Schedule
        from lcdoc.cli.models import require_model

        require_model(settings.read.model, display)
        recipe = Recipe(context_tokens=context_tokens, seed=seed)
        goal = Goal(recipe, Schedule(steps=steps), sink_size, recent_size, haystack)
        found = _calibrate(settings.read, goal, display, output, quick=quick, restart=restart)
        if found is None:
            return INTERRUPTED
        profile, path = found
    profile.save(path)
    if png is not None:
        from lcdoc.calibrate.picture import save_gates_png

        save_gates_png(profile, png)
    from lcdoc.cli.heatmap import print_gates

    print_gates(profile, colors=settings.appearance.color != "never")
    use = f"use it with --profile {path}" if output or from_tsv else "this model is read with it from now on"
    display.say(f"written to {path}; {use}")
    return 0


def _calibrate(
    settings: "ReadSettings",
    goal: "Goal",
    display: Display,
    output: Path | None,
    *,
    quick: bool,
    restart: bool,
) -> "tuple[HeadProfile, Path] | None":
    """The profile and where it goes; None where the user interrupted."""
    from lcdoc.calibrate.calibration import Calibration

    try:
        with interruptible():
            calibration = Calibration(settings, goal)
            path = output or calibration.path
            path.parent.mkdir(parents=True, exist_ok=True)
            if quick:
                return calibration.look(), path
            checkpoint = path.with_name(f"{path.name}.partial")
            if restart:
                checkpoint.unlink(missing_ok=True)
            say = _progress(display, goal.schedule.steps)
            for step in calibration.train(checkpoint):
                say(step.number, step.loss, step.streaming_share)
            checkpoint.unlink(missing_ok=True)
            return calibration.trained(), path
    except KeyboardInterrupt:
        display.say("interrupted; the same command goes on from the last step")
        return None


def _progress(display: Display, steps: int) -> Callable[[int, float, float], None]:
    """Says a step in a line, with the time that the others will take."""
    started_s, first = time.monotonic(), 0

    def say(number: int, loss: float, streaming_share: float) -> None:
        nonlocal first
        first = first or number
        left_s = (time.monotonic() - started_s) / (number - first + 1) * (steps - number)
        display.say(
            f"step {number} of {steps}: loss {loss:.4f}, {streaming_share:.0%} of heads below 0.5, "
            f"{clock(left_s)} left"
        )

    return say
