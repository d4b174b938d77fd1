"""Results of `lcdoc eval needle` and `lcdoc eval ruler` as pictures: coloured cells with the figures in them."""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcdoc.errors import LcdocError, UsageError

PANELS_IN_ROW = 4
CELL_INCHES = (0.75, 0.38)
MARGIN_INCHES = (1.3, 1.2)
# Darker cells than this hold white figures.
DARK = 0.6
# Where nothing was measured.
NOTHING = "lightgrey"


@dataclass(frozen=True)
class Panel:
    """A heat map. values: from 0 to 1, a row for each of `rows`, None where nothing was measured; figures alike."""

    title: str
    row_name: str
    column_name: str
    rows: list[str]
    columns: list[str]
    values: list[list[float | None]]
    figures: list[list[str]]


def check_picture(path: Path) -> None:
    """Raises UsageError where no picture could be drawn there: what goes before it would be measured in vain."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError:
        raise UsageError("a picture needs matplotlib: pip install 'lcdoc[plot]'") from None
    if path.suffix.lower() != ".png":
        raise UsageError(f"--plot draws PNG; name a file that ends in .png, not {path.name!r}")
    if not path.parent.is_dir():
        raise UsageError(f"{path}: there is no folder {path.parent}; name another file with --plot")


def load_report(path: Path) -> dict[str, Any]:
    """A result to draw. Raises UsageError for a file that is none."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
        if not panels(report, ""):
            raise UsageError(f"{path} holds nothing measured yet")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{path} is no result of {' or '.join(PANELS)}, which --json writes") from error
    return report


def draw(reports: Sequence[tuple[str, dict[str, Any]]], path: Path) -> None:
    """The panels of all reports, each with its name, as one PNG. Raises LcdocError where it can't be written."""
    from matplotlib.figure import Figure

    all_panels = [panel for name, report in reports for panel in panels(report, name)]
    across = min(len(all_panels), PANELS_IN_ROW)
    down = -(-len(all_panels) // across)
    width = max(len(panel.columns) for panel in all_panels) * CELL_INCHES[0] + MARGIN_INCHES[0]
    height = max(len(panel.rows) for panel in all_panels) * CELL_INCHES[1] + MARGIN_INCHES[1]
    figure = Figure(figsize=(across * width + 0.6, down * height), layout="constrained")
    grid = figure.subplots(down, across, squeeze=False)
    images = [_fill(axes, panel) for axes, panel in zip(grid.flat, all_panels, strict=False)]
    for axes in grid.flat[len(all_panels) :]:
        axes.set_axis_off()
    figure.colorbar(images[0], ax=grid, label="share that is right")
    save_picture(figure, path)


def save_picture(figure: Any, path: Path) -> None:
    """figure: matplotlib's. The same bytes for the same figure. Raises LcdocError where it can't be written."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    try:
        figure.savefig(path, format="png", dpi=150, metadata={"Software": None})
    except OSError as error:
        raise LcdocError(f"{path}: the picture can't be written: {error.strerror}") from error


def panels(report: dict[str, Any], name: str) -> list[Panel]:
    """name: what tells the report from others, beside its model. Raises KeyError or TypeError for what is no report."""
    return PANELS[report["suite"]](report["cells"], "\n".join(filter(None, (report["model"]["name"], name))))


def _needle_panels(cells: list[dict[str, Any]], name: str) -> list[Panel]:
    """A panel for each mode: depths down, lengths across."""
    depths, lengths = (sorted({cell[key] for cell in cells}) for key in ("depth", "length_tokens"))

    def panel(mode: str) -> Panel:
        def right(depth: float, length: int) -> list[float]:
            place = (mode, depth, length)
            return [
                float(cell["right"])
                for cell in cells
                if (cell["mode"], cell["depth"], cell["length_tokens"]) == place
            ]

        groups = [[right(depth, length) for length in lengths] for depth in depths]
        return Panel(
            title=f"{mode}\n{name}",
            row_name="depth of the needle",
            column_name="tokens",
            rows=[f"{depth:.0%}" for depth in depths],
            columns=[f"{length:,}" for length in lengths],
            values=_means(groups),
            figures=[[f"{sum(group):.0f}/{len(group)}" if group else "" for group in row] for row in groups],
        )

    return [panel(mode) for mode in _each(cell["mode"] for cell in cells)]


def _ruler_panels(cells: list[dict[str, Any]], name: str) -> list[Panel]:
    """A panel for each length: tasks down, modes across."""
    tasks, modes = (_each(cell[key] for cell in cells) for key in ("task", "mode"))

    def panel(length: int) -> Panel:
        def scores(task: str, mode: str) -> list[float]:
            place = (task, mode, length)
            return [
                float(cell["score"])
                for cell in cells
                if (cell["task"], cell["mode"], cell["length_tokens"]) == place
            ]

        values = _means([[scores(task, mode) for mode in modes] for task in tasks])
        return Panel(
            title=f"{length:,} tokens\n{name}",
            row_name="task",
            column_name="mode",
            rows=tasks,
            columns=modes,
            values=values,
            figures=[["" if value is None else f"{value:.2f}" for value in row] for row in values],
        )

    return [panel(length) for length in sorted({cell["length_tokens"] for cell in cells})]


PANELS: dict[str, Callable[[list[dict[str, Any]], str], list[Panel]]] = {
    "needle": _needle_panels,
    "ruler": _ruler_panels,
}


def _means(groups: list[list[list[float]]]) -> list[list[float | None]]:
    return [[sum(group) / len(group) if group else None for group in row] for row in groups]


def _each(names: Iterable[str]) -> list[str]:
    """Every one once, in the order they first come in."""
    return list(dict.fromkeys(names))


def _fill(axes: Any, panel: Panel) -> Any:
    """Draws the panel, and returns its image."""
    numbers = [[float("nan") if value is None else value for value in row] for row in panel.values]
    image = axes.imshow(numbers, vmin=0.0, vmax=1.0, cmap="inferno", aspect="auto", interpolation="nearest")
    axes.set(xlabel=panel.column_name, ylabel=panel.row_name, facecolor=NOTHING)
    axes.set_title(panel.title, fontsize="medium")
    axes.set_xticks(range(len(panel.columns)), panel.columns, fontsize="small")
    axes.set_yticks(range(len(panel.rows)), panel.rows, fontsize="small")
    for down, row in enumerate(panel.values):
        for across, value in enumerate(row):
            color = "white" if value is not None and value < DARK else "black"
            axes.text(
                across,
                down,
                panel.figures[down][across],
                ha="center",
                va="center",
                color=color,
                fontsize="small",
            )
    return image
