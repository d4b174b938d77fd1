from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest

from lcdoc.documents import Document, load_document

DATA = Path(__file__).parent.parent / "data"


@pytest.fixture(scope="session")
def docs() -> Path:
    return DATA / "docs"


@pytest.fixture(scope="session")
def awkward() -> Path:
    return DATA / "awkward"


@pytest.fixture(scope="session")
def read(docs: Path) -> Callable[[str], Document]:
    """Loads one of the long documents by the name of its file, once a session."""
    return cache(lambda name: load_document(str(docs / name)))


@pytest.fixture(scope="session")
def epanet(read: Callable[[str], Document]) -> Document:
    return read("epanet22-users-manual.pdf")


@pytest.fixture(scope="session")
def geotopo(read: Callable[[str], Document]) -> Document:
    return read("geotopo-de.pdf")


@pytest.fixture(scope="session")
def register(read: Callable[[str], Document]) -> Document:
    return read("federal-register-2020-17221.pdf")


@pytest.fixture(scope="session")
def pestpp(read: Callable[[str], Document]) -> Document:
    return read("pestpp-da.docx")


@pytest.fixture(scope="session")
def wikipedia(read: Callable[[str], Document]) -> Document:
    return read("wikipedia-microsoft.html")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, bytes], str]:
    """Writes a small file and returns its name."""

    def write_file(name: str, data: bytes) -> str:
        path = tmp_path / name
        path.write_bytes(data)
        return str(path)

    return write_file


@pytest.fixture
def make_pdf() -> Callable[..., bytes]:
    """Builds a PDF of one content stream a page, with Helvetica as /F1.

    contents: raw or Flate-packed streams. resources, page_extra: more entries of each page's dictionaries.
    objects: more objects, numbered from 100.
    """

    def build(
        contents: list[bytes],
        resources: bytes = b"",
        page_extra: bytes = b"",
        objects: tuple[bytes, ...] = (),
        packed: bool = False,
    ) -> bytes:
        kids = b" ".join(b"%d 0 R" % (10 + 2 * index) for index in range(len(contents)))
        numbered = {
            1: b"<< /Type /Catalog /Pages 2 0 R >>",
            2: b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(contents)),
            3: b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        }
        for index, content in enumerate(contents):
            page = 10 + 2 * index
            numbered[page] = (
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %d 0 R %s "
                b"/Resources << /Font << /F1 3 0 R >> %s >> >>" % (page + 1, page_extra, resources)
            )
            filter_ = b"/Filter /FlateDecode" if packed else b""
            numbered[page + 1] = b"<< /Length %d %s >>\nstream\n%s\nendstream" % (
                len(content),
                filter_,
                content,
            )
        numbered |= {100 + index: body for index, body in enumerate(objects)}
        data, offsets = b"%PDF-1.7\n", {}
        for number, body in sorted(numbered.items()):
            offsets[number] = len(data)
            data += b"%d 0 obj\n%s\nendobj\n" % (number, body)
        start = len(data)
        data += b"xref\n0 1\n0000000000 65535 f \n"
        for number, offset in offsets.items():
            data += b"%d 1\n%010d 00000 n \n" % (number, offset)
        size = max(numbered) + 1
        return data + b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, start)

    return build
