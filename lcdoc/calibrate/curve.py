"""The course of a search as a PNG: the score against the evaluations spent."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from lcdoc.calibrate.evolution import best_so_far
from lcdoc.errors import LcdocError

INCHES = (6.4, 4.0)


def save_curve_png(scores: Sequence[float], seeds: Mapping[str, float], title: str, path: Path) -> None:
    """scores: of each evaluation, less is better. seeds: by method, each drawn as a line where any other score is below
    it. Raises LcdocError where the file can't be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    numbers = range(1, len(scores) + 1)
    axes.step(numbers, best_so_far(scores), where="post", label="best so far")
    axes.plot(numbers, scores, ".", alpha=0.5, label="each candidate")
    shown = max(scores[len(seeds) :])
    for name, score in seeds.items():
        if score <= 2 * shown - min(scores):  # one far above would press all others together
            axes.axhline(score, linestyle=":", linewidth=1, color="grey")
            axes.annotate(name, (len(scores), score), ha="right", va="bottom", fontsize="small")
    axes.set(xlabel="evaluations", ylabel="score (less is better)")
    axes.set_ylim(top=max([shown, *(one for one in seeds.values() if one <= 2 * shown - min(scores))]) * 1.02)
    axes.set_title(title, fontsize="medium")
    axes.legend(fontsize="small")
    try:
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
    except OSError as error:
        raise LcdocError(f"{path}: the picture can't be written: {error.strerror}") from error
