"""`lcdoc config`: every setting, its value and where it came from."""

from pathlib import Path

import typer

from lcdoc.cli.sanitize import clean
from lcdoc.config import PROJECT_FILE, config_files, resolve, user_config_path


def print_settings(with_origin: bool) -> None:
    choices = resolve({}).choices
    width = max(map(len, choices))
    for name, choice in choices.items():
        value = _text(choice.value)
        row = f"{name:{width}}  {value:12}  {choice.origin}" if with_origin else f"{name:{width}}  {value}"
        typer.echo(clean(row))


def print_paths() -> None:
    """The files that are looked at, the stronger first."""
    in_use = config_files()
    for path in (Path.cwd() / PROJECT_FILE, user_config_path()):
        typer.echo(clean(f"{path} ({'in use' if path in in_use else 'not there'})"))


def _text(value: object) -> str:
    if value is None:
        return "(not set)"
    return str(value).lower() if isinstance(value, bool) else str(value)
