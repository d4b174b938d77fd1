"""Tables on stdout, and the lists that options take with commas."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from lcdoc.cli.heatmap import color
from lcdoc.cli.sanitize import clean_line
from lcdoc.errors import UsageError

if TYPE_CHECKING:
    from rich.text import Text

# Brighter cells than this hold black figures.
BRIGHT = 0.5


class Shaded(NamedTuple):
    """A figure, and how good it is: from 0 to 1."""

    text: str
    share: float


def print_table(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str | Shaded]], *, colors: bool = True
) -> None:
    """The first column to the left, the others to the right; with colours, where the terminal has them."""
    import sys

    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(clean_line(title)), box=SIMPLE, title_justify="left")
    for idx, column in enumerate(columns):
        table.add_column(column, justify="right" if idx else "left", no_wrap=True)
    console = Console(file=sys.stdout, highlight=False, no_color=None if colors else True)
    colored = console.is_terminal and console.color_system is not None and not console.no_color
    for row in rows:
        table.add_row(*(_cell(cell, colored) for cell in row))
    console.print(table)


def _cell(cell: str | Shaded, colored: bool) -> "Text":
    from rich.text import Text

    if isinstance(cell, str):
        return Text(clean_line(cell))
    if not colored:
        return Text(cell.text)
    front = "black" if cell.share > BRIGHT else "white"
    return Text(f" {cell.text} ", style="{} on rgb({},{},{})".format(front, *color(cell.share)))


def split_names(text: str) -> tuple[str, ...]:
    """ "exact, stock" -> ("exact", "stock"), each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))


def split_numbers(text: str, option: str) -> tuple[int, ...]:
    """ "1000,4000" -> (1000, 4000). Raises UsageError for anything but whole numbers."""
    try:
        numbers = tuple(int(part) for part in split_names(text))
    except ValueError:
        raise UsageError(f"{option} must be whole numbers with commas between, not {text!r}") from None
    if not numbers:
        raise UsageError(f"{option} is empty; name one number or more")
    return numbers
