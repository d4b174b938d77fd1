"""How much a document may be before it is refused, all in one table."""

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Each limit is far above what real documents need; it stops bombs and mistakes.

    archive_ratio: how many times an archive's file may grow when unpacked; only looked at above 1 MiB.
    stream_bytes: one PDF content stream, unpacked (pypdf's own limit, stated here for its message).
    nesting: levels of brackets in JSON, and of forms within forms in a PDF.
    """

    file_bytes: int = 512 * MEBIBYTE
    archive_entries: int = 10_000
    archive_bytes: int = 512 * MEBIBYTE
    archive_ratio: int = 200
    stream_bytes: int = 75_000_000
    pages: int = 20_000
    page_chars: int = 2_000_000
    document_chars: int = 50_000_000
    nesting: int = 200


LIMITS = Limits()
