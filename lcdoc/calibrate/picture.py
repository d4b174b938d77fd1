"""A profile's gates as a PNG, a cell for each KV head."""

from pathlib import Path

from lcdoc.engine.profiles import HeadProfile
from lcdoc.errors import LcdocError, UsageError

CELL_INCHES = 0.18
MARGIN_INCHES = (2.2, 1.2)


def save_gates_png(profile: HeadProfile, path: Path) -> None:
    """Raises UsageError where matplotlib is not installed, LcdocError where the file can't be written."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise UsageError("a picture needs matplotlib: pip install 'lcdoc[plot]'") from None
    gates = list(zip(*profile.gates, strict=True))  # heads down, layers across
    width, height = len(profile.gates) * CELL_INCHES, len(gates) * CELL_INCHES
    figure = Figure(figsize=(width + MARGIN_INCHES[0], height + MARGIN_INCHES[1]), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    image = axes.imshow(gates, vmin=0.0, vmax=1.0, cmap="inferno", aspect="equal", interpolation="nearest")
    axes.set(xlabel="layer", ylabel="KV head")
    axes.set_title(profile.model, fontsize="medium")
    figure.colorbar(image, ax=axes, label="gate")
    try:
        figure.savefig(path, format="png", dpi=150)
    except OSError as error:
        raise LcdocError(f"{path}: the picture can't be written: {error.strerror}") from error
