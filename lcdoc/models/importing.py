"""Keeping transformers from taking lcdoc's source folder `kernels` for the PyPI package of that name.

Only a source checkout has it outside of lcdoc, and only `python -m` and `python -c` run from its root
make it importable so.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]


def import_transformers() -> None:
    """Imports transformers with the checkout out of sight; it looks for that package only once."""
    if "transformers.integrations.hub_kernels" not in sys.modules:
        with _checkout_hidden():
            import transformers.integrations.hub_kernels  # noqa: F401


@contextmanager
def _checkout_hidden() -> Iterator[None]:
    entries = list(sys.path)
    if (CHECKOUT / "pyproject.toml").is_file():
        sys.path[:] = [entry for entry in entries if Path(entry).resolve() != CHECKOUT.resolve()]
    try:
        yield
    finally:
        sys.path[:] = entries
