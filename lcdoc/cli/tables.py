"""Tables on stdout, and the lists that options take with commas."""

from collections.abc import Sequence

from lcdoc.cli.sanitize import clean_line
from lcdoc.errors import UsageError


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """The first column to the left, the others to the right."""
    import sys

    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(clean_line(title)), box=SIMPLE, title_justify="left")
    for idx, column in enumerate(columns):
        table.add_column(column, justify="right" if idx else "left", no_wrap=True)
    for row in rows:
        table.add_row(*(Text(clean_line(cell)) for cell in row))
    Console(file=sys.stdout, highlight=False).print(table)


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
