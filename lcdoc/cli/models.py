"""`lcdoc models`: getting, listing and removing models."""

import sys

import typer

from lcdoc.cli.display import Display, Lines, is_terminal
from lcdoc.cli.measures import bytes_text
from lcdoc.cli.sanitize import clean, clean_line
from lcdoc.models import DEFAULT_MODEL, ModelEntry, list_models, pull, pull_default, remove, resolve, show


def require_model(name: str | None, display: Display) -> None:
    """Raises ModelError where the model isn't here; on a terminal the default model is offered first."""
    wants_default = name in (None, DEFAULT_MODEL.name)
    if wants_default and not DEFAULT_MODEL.path.is_file() and _someone_answers():
        display.clear()
        size = bytes_text(DEFAULT_MODEL.file_bytes)
        if typer.confirm(f"The default model is not on this machine. Get it now ({size})?", err=True):
            display.say(f"getting {DEFAULT_MODEL.name}")
            pull_default()
        display.resume()
    resolve(name)


def pull_model(name: str | None) -> None:
    """Gets the default model, or one of the hub."""
    wanted = name or DEFAULT_MODEL.name
    stderr = Lines()
    stderr.say(f"getting {wanted}")
    files = pull_default() if wanted == DEFAULT_MODEL.name else pull(wanted)
    stderr.say(f"{files.name} is ready: {files.path}")


def print_models() -> None:
    entries = list_models()
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        state = "ready" if entry.pulled else "not here"
        row = f"{entry.name:{width}}  {state:8}  {bytes_text(entry.size_bytes):>10}  {entry.description}"
        typer.echo(clean(row.rstrip()))


def print_model(name: str) -> None:
    entry = show(name)
    for label, value in _facts(entry):
        typer.echo(f"{label:12} {clean_line(value)}")


def remove_model(name: str) -> None:
    entry = remove(name)
    Lines().say(f"removed {entry.name}, {bytes_text(entry.size_bytes)} freed")


def _facts(entry: ModelEntry) -> list[tuple[str, str]]:
    facts = [
        ("name", entry.name),
        ("description", entry.description),
        ("source", entry.source),
        ("license", entry.license or "see the model's page"),
        ("state", "ready" if entry.pulled else "not here; get it with: lcdoc models pull"),
        ("size", bytes_text(entry.size_bytes)),
        *(("folder", str(path)) for path in entry.paths),
    ]
    return [(label, value) for label, value in facts if value]


def _someone_answers() -> bool:
    return is_terminal(sys.stdin) and is_terminal(sys.stderr)
