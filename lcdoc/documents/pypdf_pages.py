"""A PDF by pypdf: page labels, limits on streams, and the text of pages that pdfium reads badly."""

import io
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lcdoc.documents.limits import Limits

if TYPE_CHECKING:
    import pypdf

# pypdf takes seconds for a page of this many bytes of drawing, and such a page is no text page.
_MAX_TEXT_STREAM_BYTES = 2_000_000


class PypdfPages:
    """Answers for one file, page by page (indexes from 0); nothing that pypdf raises leaves here.

    outline: (title, page index) of the highest level of the file's outline that has more than one entry.
    failure: why pypdf cannot open the file, in its own words, or None.
    """

    def __init__(self, data: bytes, password: str, limits: Limits) -> None:
        self._limits = limits
        self._checked: set[int] = set()
        self.failure: str | None = None
        self.num_pages = 0
        self.labels: list[str] | None = None
        self.outline: list[tuple[str, int]] = []
        try:
            self._reader = _open(data, password)
            self.num_pages = len(self._reader.pages)
            if "/PageLabels" in self._reader.root_object:
                self.labels = list(self._reader.page_labels)
            if "/Outlines" in self._reader.root_object:
                self.outline = _highest_level(self._reader)
        except Exception as failure:  # hostile files make pypdf raise anything
            self.failure = _in_one_line(str(failure) or type(failure).__name__)

    def oversized(self, index: int) -> str | None:
        """Why a page's streams are too large to be read at all, or None."""
        from pypdf.errors import LimitReachedError

        if self.failure is not None or index >= self.num_pages:
            return None
        try:
            self._unpack(self._reader.pages[index], depth=0)
        except LimitReachedError:
            return f"a stream unpacks beyond the limit of {self._limits.stream_bytes:,} bytes"
        except RecursionError:
            return f"drawn in forms nested deeper than the limit of {self._limits.nesting}"
        except Exception:  # damage is pdfium's to repair; only size is asked here
            return None
        return None

    def text(self, index: int) -> tuple[str, str | None]:
        """A page's text, or "" and why pypdf cannot read it."""
        if self.failure is not None:
            return "", self.failure
        try:
            page = self._reader.pages[index]
            contents = page.get_contents()
            size = 0 if contents is None else len(contents.get_data())
            if size > _MAX_TEXT_STREAM_BYTES:
                return "", f"its stream of {size:,} bytes is too long for pypdf"
            return page.extract_text(), None
        except Exception as failure:  # hostile files make pypdf raise anything
            return "", _in_one_line(str(failure) or type(failure).__name__)

    def _unpack(self, page: Any, depth: int) -> None:
        """Unpack a page's or form's content and its forms', each once; pypdf stops at its limits."""
        from pypdf.errors import LimitReachedError

        if depth > self._limits.nesting:
            raise RecursionError
        contents = page.get_contents() if hasattr(page, "get_contents") else page
        if contents is not None:
            contents.get_data()
        resources = page.get("/Resources")
        forms = resources.get_object().get("/XObject") if resources is not None else None
        for reference in forms.get_object().values() if forms is not None else ():
            identity = getattr(reference, "idnum", id(reference))
            form = reference.get_object()
            if identity in self._checked or form.get("/Subtype") != "/Form":
                continue
            self._checked.add(identity)  # before its own forms, since a form may hold itself
            try:
                self._unpack(form, depth + 1)
            except (LimitReachedError, RecursionError):
                self._checked.discard(identity)  # too large for every page that uses it
                raise


@contextmanager
def quiet_pypdf() -> Iterator[list[str]]:
    """Keep pypdf's remarks on how it repairs a file off stderr; yields the list that they go to."""
    logger = logging.getLogger("pypdf")
    remarks = _Remarks()
    propagates, logger.propagate = logger.propagate, False
    logger.addHandler(remarks)
    try:
        yield remarks.messages
    finally:
        logger.removeHandler(remarks)
        logger.propagate = propagates


class _Remarks(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(_in_one_line(record.getMessage()))


def _open(data: bytes, password: str) -> "pypdf.PdfReader":
    import pypdf

    reader = pypdf.PdfReader(io.BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(password):
        raise ValueError("the password does not open it for pypdf")
    return reader


def _highest_level(reader: "pypdf.PdfReader") -> list[tuple[str, int]]:
    """A nested list is the level below the entry before it."""
    entries: list[Any] = reader.outline
    while sum(not isinstance(entry, list) for entry in entries) < 2:
        below = [entry for entry in entries if isinstance(entry, list)]
        if not below:
            return []
        entries = below[0]
    found = []
    for entry in entries:
        page = None if isinstance(entry, list) else reader.get_destination_page_number(entry)
        if page is not None and page >= 0:
            found.append((str(entry.title), page))
    return found


def _in_one_line(message: str) -> str:
    message = " ".join(message.split())
    return message if len(message) <= 80 else message[:77] + "..."
