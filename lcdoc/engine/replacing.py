"""A file that is written anew in one step, so that a reader never meets half of it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lcdoc.errors import LcdocError


@contextmanager
def replacing(path: Path, what: str | None = None, mode: int = 0o600) -> Iterator[Path]:
    """An empty file beside the path, which takes its place once all is written, and is gone where that fails.

    what: what is written, for an LcdocError where it can't be; without it that is the OSError itself. mode: whom the
    file is for.
    """
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            new = Path(file.name)
        try:
            yield new
            new.chmod(mode)
            new.replace(path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        if what is None:
            raise
        raise LcdocError(f"{path}: {what} can't be written: {error.strerror}") from error
