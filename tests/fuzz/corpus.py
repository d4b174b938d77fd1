"""Small files of every format that lcdoc reads, as seeds: real ones where they are small, else the beginning of one."""

import io
import zipfile
from pathlib import Path

SUFFIXES = {"text": "txt"}
DATA = Path(__file__).parents[1] / "data"


def corpus() -> dict[str, list[bytes]]:
    """By format; each file is read in well under a second."""
    docs, awkward = DATA / "docs", sorted((DATA / "awkward").glob("*.pdf"))
    return {
        "pdf": [path.read_bytes() for path in awkward if path.stat().st_size < 100_000],
        "docx": [(docs / "autogen-paper.docx").read_bytes()],
        "epub": [_without_pictures(docs / "alice.epub")],
        "html": [_start(docs / "wikipedia-microsoft.html", 60_000)],
        "json": [
            _start(docs / "qmsum-Bmr016.json", 60_000),
            b'{"turns": [{"speaker": "A", "text": "b"}], "c": [1]}',
        ],
        "text": [_start(docs / "frankenstein.txt", 20_000), "Größe\tnaïve\r\n漢字\f".encode("utf-16")],
    }


def _start(path: Path, num_bytes: int) -> bytes:
    return path.read_bytes()[:num_bytes]


def _without_pictures(path: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for name in source.namelist():
            if not name.endswith((".jpg", ".png", ".gif")):
                target.writestr(name, source.read(name))
    return packed.getvalue()
