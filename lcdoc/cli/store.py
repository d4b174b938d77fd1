"""`lcdoc store`: what is kept of documents that were read."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.exits import FAILED
from lcdoc.cli.measures import bytes_text, count
from lcdoc.cli.sanitize import clean_line
from lcdoc.config import resolve
from lcdoc.errors import LcdocError, UsageError

if TYPE_CHECKING:
    from lcdoc.store.contents import Stored
    from lcdoc.store.store import Store

STORE_HELP = (
    "Look after what is kept of documents that were read. It holds their content: whoever can read these files can "
    "work out the text."
)

Name = Annotated[str, typer.Argument(metavar="FILE", help="A document as `lcdoc store list` names it.")]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="FILE", help="Documents as `lcdoc store list` names them.")
]
Everything = Annotated[bool, typer.Option("--all", help="All documents.")]


def store_list() -> int:
    """List the documents whose content is kept, the last used first."""
    store = _store()
    stored, nameless = _contents(store)
    rows = [
        (one.name, one.model, f"{one.tokens:,} tokens", bytes_text(one.size_bytes), _time(one.used_s))
        for one in stored
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        typer.echo(clean_line("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))))
    if nameless:
        typer.echo(f"{count(len(nameless), 'damaged block')}; `lcdoc store verify` names them")
    typer.echo(
        clean_line(
            f"{bytes_text(store.size_bytes)} of {bytes_text(store.limit_bytes)} in {store.folder}, which holds the "
            f"documents' content"
        )
    )
    return 0


def store_show(name: Name) -> int:
    """Show what is kept of a document."""
    for index, one in enumerate(_found(_contents(_store())[0], name)):
        facts = {
            "document": one.name,
            "model": one.model,
            "keys, values": one.dtype,
            "tokens": f"{one.tokens:,}",
            "size": bytes_text(one.size_bytes),
            "last used": _time(one.used_s),
        }
        typer.echo("\n" * bool(index), nl=False)
        for label, value in facts.items():
            typer.echo(f"{label:14}{clean_line(value)}")
        for block in one.blocks:
            typer.echo(f"{'block':14}{clean_line(str(block.path))}")
    return 0


def store_prune(max_size: options.MaxSize = None) -> int:
    """Remove what is over the size limit, the least recently used first, and what can't be reached any more."""
    store = _store(max_size)
    try:
        files, size_bytes = store.prune()
    except OSError as error:
        raise LcdocError(f"{store.folder}: can't be pruned: {error.strerror or error}") from error
    typer.echo(f"removed {count(files, 'file')}, {bytes_text(size_bytes)}")
    return 0


def store_remove(names: Names = None, everything: Everything = False) -> int:
    """Delete what is kept of documents. What other documents share with them goes with the last of these."""
    if bool(names) == everything:
        raise UsageError("name documents to remove, or give --all; `lcdoc store list` names them")
    store = _store()
    if everything:
        keys = {block.key for block in store.blocks()}
    else:
        stored = _contents(store)[0]
        chosen = [one for name in names or [] for one in _found(stored, name)]
        keys = {block.key for one in chosen for block in one.blocks}
    try:
        files, size_bytes = store.remove(keys)
    except OSError as error:
        raise LcdocError(f"{store.folder}: can't be removed: {error.strerror or error}") from error
    left = len(keys) - files
    shared = f"; {count(left, 'block')} that other documents share with them stay" if left else ""
    typer.echo(f"removed {count(files, 'block')}, {bytes_text(size_bytes)}{shared}")
    return 0


def store_verify() -> int:
    """Check every byte that is kept, and name what is damaged; a damaged block is never used, but read again."""
    from lcdoc.store.block import orphans
    from lcdoc.store.block_file import BlockFile, DamagedBlock
    from lcdoc.store.store import check

    blocks, damaged = _store().blocks(), 0
    for block in blocks:
        try:
            with BlockFile(block.path) as file:
                check(file, block.key, block.parent)
        except FileNotFoundError:
            continue  # another process has removed it
        except (DamagedBlock, OSError) as error:
            damaged += 1
            typer.echo(clean_line(f"{block.path}: {error}"))
    lost = len(orphans(blocks))
    unreached = f", {lost:,} that can't be reached (lcdoc store prune removes them)" if lost else ""
    typer.echo(f"{count(len(blocks), 'block')}, {damaged:,} damaged{unreached}")
    return FAILED if damaged else 0


STORE_COMMANDS: dict[str, Callable[..., int]] = {
    "list": store_list,
    "show": store_show,
    "prune": store_prune,
    "remove": store_remove,
    "verify": store_verify,
}


def _store(max_size: str | None = None) -> "Store":
    """The user's, whether reading uses it or not."""
    from lcdoc.tasks.storing import open_store

    store = open_store(resolve({"max_size": max_size, "store": True}).storing)
    assert store is not None
    return store


def _contents(store: "Store") -> "tuple[list[Stored], list[object]]":
    from lcdoc.store.contents import list_stored

    stored, nameless = list_stored(store.blocks())
    return stored, list(nameless)


def _found(stored: "list[Stored]", name: str) -> "list[Stored]":
    from lcdoc.store.contents import named

    found = named(stored, name)
    if not found:
        raise UsageError(f"nothing is stored of {name!r}; `lcdoc store list` names what is")
    return found


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")
