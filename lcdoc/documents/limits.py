"""How much a document may be before it is refused, all in one table."""

from dataclasses import dataclass

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Each limit is far above what real documents need; it stops bombs and mistakes.

    archive_ratio: how many times an archive's file may grow when unpacked; only looked at above 1 MiB.
    stream_bytes: one PDF content stream, unpacked (pypdf's own limit, stated here for its message).
    nesting: levels of brackets in JSON, and of forms within forms in a PDF.
    parser_bytes: what a parser may take of memory besides what its process begins with. parser_s: of computing, with a
    second more for each parser_bytes_per_s of the file (ordinary PDFs are read at more than 100,000 bytes a second).
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
    parser_bytes: int = 2048 * MEBIBYTE
    parser_s: int = 20
    parser_bytes_per_s: int = 20_000


LIMITS = Limits()
