"""Gates as a picture in the terminal: coloured blocks, or digits where there are no colours."""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.text import Text

    from lcdoc.engine.profiles import HeadProfile

# With more layers than this the picture lies on its side, a column for each layer, where the width allows it.
MAX_ROWS = 24

# Where the output is no terminal no line has to be cut.
PIPE_COLUMNS = 200

# From a gate of 0 to one of 1: dark blue, violet, orange, pale yellow.
COLORS = ((20, 30, 110), (140, 40, 130), (240, 120, 50), (250, 240, 130))
SCALE_STEPS = 20


def print_gates(profile: "HeadProfile", *, colors: bool = True) -> None:
    """A cell for each gate, and how to read it. colors: whether they may be used where stdout is a terminal."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=sys.stdout, highlight=False, no_color=None if colors else True)
    colored = console.is_terminal and console.color_system is not None and not console.no_color
    num_layers, num_heads = len(profile.gates), len(profile.gates[0])
    width = console.width if console.is_terminal else PIPE_COLUMNS
    aside = num_layers > max(MAX_ROWS, num_heads) and num_layers + len("head 000 ") <= width
    rows: list[tuple[float, ...]] = [*zip(*profile.gates, strict=True)] if aside else [*profile.gates]
    row_name, column_name = ("head", "layer") if aside else ("layer", "head")
    label_width = len(f"{row_name} {len(rows) - 1} ")
    cell_width = 2 if label_width + 2 * len(rows[0]) <= width else 1
    console.print(Text(_ticks(len(rows[0]), label_width, cell_width, column_name)), soft_wrap=True)
    for idx, row in enumerate(rows):
        line = Text(f"{row_name} {idx}".ljust(label_width))
        for gate in row:
            line.append_text(_cell(gate, cell_width, colored))
        line.rstrip()
        console.print(line, soft_wrap=True)
    console.print(_scale(colored), soft_wrap=True)


def _cell(gate: float, width: int, colored: bool) -> "Text":
    from rich.text import Text

    if colored:
        return Text("█" * width, style="rgb({},{},{})".format(*color(gate)))
    return Text(str(min(int(gate * 10), 9)).ljust(width))


def color(value: float) -> tuple[int, ...]:
    """The colour between the two of COLORS that a value from 0 to 1 lies between."""
    place = value * (len(COLORS) - 1)
    first = min(int(place), len(COLORS) - 2)
    part = place - first
    low, high = COLORS[first], COLORS[first + 1]
    return tuple(round(a + (b - a) * part) for a, b in zip(low, high, strict=True))


def _ticks(count: int, label_width: int, cell_width: int, name: str) -> str:
    """The numbers of every tenth column, above it."""
    line = f"{name}s".ljust(label_width)
    for idx in range(0, count, 10):
        line = line.ljust(label_width + idx * cell_width) + str(idx)
    return line


def _scale(colored: bool) -> "Text":
    from rich.text import Text

    if not colored:
        return Text("gates in tenths: 0 needs sinks and recent tokens only, 9 the whole document")
    line = Text("0 ")
    for step in range(SCALE_STEPS):
        line.append_text(_cell(step / (SCALE_STEPS - 1), 1, colored))
    return line.append(" 1: from sinks and recent tokens only, to the whole document")
