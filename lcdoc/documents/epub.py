"""EPUB books: the files of the spine in order, each labelled by its title in the table of contents."""

import posixpath
from urllib.parse import unquote
from xml.etree import ElementTree

from lcdoc.documents.archive import Archive
from lcdoc.documents.cleaning import squeeze
from lcdoc.documents.document import SCAN, Document, Page
from lcdoc.documents.encoding import decode
from lcdoc.documents.html import render_all
from lcdoc.documents.limits import Limits
from lcdoc.documents.markup import join_blocks
from lcdoc.errors import DocumentError

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_TEXT_TYPES = ("application/xhtml+xml", "text/html", "application/x-dtbook+xml")


class _Book:
    """The package file of a book: what it holds, and in which order it is read."""

    def __init__(self, archive: Archive, source: str) -> None:
        self._archive = archive
        root_file = _find(self._archive.read_xml(_CONTAINER), "rootfile")
        if root_file is None:
            raise DocumentError(f"{source}: {_CONTAINER} names no book; the file is incomplete")
        self._folder = posixpath.dirname(root_file.get("full-path", ""))
        self.package = self._archive.read_xml(root_file.get("full-path", ""))
        self.items = {item.get("id", ""): item for item in _find_all(self.package, "item")}

    def spine(self) -> list[str]:
        """Paths of the text files in reading order, those beside the main line of reading included."""
        references = [reference.get("idref", "") for reference in _find_all(self.package, "itemref")]
        items = [self.items[name] for name in references if name in self.items]
        return [self._path(item) for item in items if item.get("media-type") in _TEXT_TYPES]

    def chapter_titles(self) -> dict[str, str]:
        """Path -> title, from the EPUB 3 navigation file or the EPUB 2 one."""
        titles: dict[str, str] = {}
        for item in self.items.values():
            is_nav = "nav" in (item.get("properties") or "").split()
            if not is_nav and item.get("media-type") != "application/x-dtbncx+xml":
                continue
            path = self._path(item)
            if path not in self._archive.names:
                continue
            root = self._archive.read_xml(path)
            entries = (
                [(link.get("href", ""), _text(link)) for link in _find_all(root, "a")]
                if is_nav
                else [(_target(point), _text(_find(point, "text"))) for point in _find_all(root, "navPoint")]
            )
            for target, title in entries:
                # Several entries may point into one file; the first names it.
                titles.setdefault(_resolve(posixpath.dirname(path), target), title)
        return titles

    def _path(self, item: ElementTree.Element) -> str:
        return _resolve(self._folder, item.get("href", ""))


def read_epub(data: bytes, source: str, limits: Limits) -> Document:
    """A page per file of the spine; a file with a picture and no text is unread."""
    archive = Archive(data, source, limits)
    book = _Book(archive, source)
    titles = book.chapter_titles()
    if _ENCRYPTION in archive.names:
        _refuse_locked(archive.read(_ENCRYPTION), book.spine(), source)
    pages = []
    for number, path in enumerate(book.spine(), start=1):
        label = titles.get(path) or posixpath.splitext(posixpath.basename(path))[0]
        if path not in archive.names:
            pages.append(Page(number, label, "", f"{path} is missing from the file"))
            continue
        markup, warnings = decode(archive.read_markup(path), source, markup=True)
        blocks = render_all(markup, f"{source}: {path}")
        text = join_blocks(blocks)
        heading = next((squeeze(block.text) for block in blocks if block.heading), "")
        is_picture = not text and any(tag in markup for tag in ("<img", "<image", "<svg"))
        label = titles.get(path) or heading or label
        pages.append(Page(number, label, text, SCAN if is_picture else None, warnings))
    title = _text(_find(book.package, "title")) or None
    return Document(source, "epub", "chapter", tuple(pages), len(pages), title)


def _refuse_locked(encryption: bytes, spine: list[str], source: str) -> None:
    """Raise DocumentError where chapters are encrypted; fonts often are, and do not matter."""
    listed = encryption.decode("utf-8", errors="replace")
    if any(path in listed for path in spine):
        raise DocumentError(f"{source}: locked by its seller (DRM); lcdoc reads books without it")


def _find_all(root: ElementTree.Element, name: str) -> list[ElementTree.Element]:
    """Elements by local name: books mix up namespaces."""
    return [item for item in root.iter() if isinstance(item.tag, str) and item.tag.split("}")[-1] == name]


def _find(root: ElementTree.Element, name: str) -> ElementTree.Element | None:
    return next(iter(_find_all(root, name)), None)


def _text(element: ElementTree.Element | None) -> str:
    return "" if element is None else squeeze("".join(element.itertext()))


def _target(point: ElementTree.Element) -> str:
    content = _find(point, "content")
    return "" if content is None else content.get("src", "")


def _resolve(folder: str, reference: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(reference.split("#")[0])))
