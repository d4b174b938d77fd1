"""lcdoc: ask anything of a document of any length, on your own machine.

The public Python API; nothing heavy is imported before a name is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lcdoc.config import ReadSettings, Sampling
    from lcdoc.documents import load_document
    from lcdoc.errors import LcdocError
    from lcdoc.tasks.answer import Answer, Receipt
    from lcdoc.tasks.ask import Reading
    from lcdoc.tasks.opening import open_reading
    from lcdoc.tasks.summarize.summarize import summarize
    from lcdoc.tasks.summarize.summary import Summary

_MODULE_OF = {
    "Answer": "tasks.answer",
    "LcdocError": "errors",
    "ReadSettings": "config",
    "Reading": "tasks.ask",
    "Receipt": "tasks.answer",
    "Sampling": "config",
    "Summary": "tasks.summarize.summary",
    "load_document": "documents",
    "open_reading": "tasks.opening",
    "summarize": "tasks.summarize.summarize",
}

__all__ = [
    "Answer",
    "LcdocError",
    "ReadSettings",
    "Reading",
    "Receipt",
    "Sampling",
    "Summary",
    "load_document",
    "open_reading",
    "summarize",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
