"""HTML to plain text: headings, paragraphs, lists, and tables as rows with " | "."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lcdoc.documents.cleaning import clean_text, squeeze

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

_UNSEEN = frozenset(("script", "style", "noscript", "template", "svg", "head", "iframe", "object", "select"))
_HEADINGS = frozenset(("h1", "h2", "h3", "h4", "h5", "h6"))
_BLOCKS = _HEADINGS.union(
    ("address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "div", "dl"),
    (
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hr",
        "html",
        "li",
        "main",
        "menu",
    ),
    ("nav", "ol", "p", "pre", "section", "summary", "table", "tbody", "tfoot", "thead", "tr", "ul"),
)
_CELLS = frozenset(("td", "th"))
_MAX_SPAN = 100
# A cell this long lays out a page rather than a table: its lines stay lines.
_MAX_CELL_CHARS = 500
_SPACES = re.compile(r"\s+")


@dataclass(frozen=True)
class Block:
    """A run of lines.

    heading: its level from 1 to 6, or 0 for body text. tight: a table's row or a list's item, which stands
    right below the one before it.
    """

    text: str
    heading: int = 0
    tight: bool = False


def join_blocks(blocks: Iterable[Block]) -> str:
    """The blocks' text, a blank line between all but the rows of a table and the items of a list."""
    lines: list[str] = []
    was_tight = False
    for block in blocks:
        if lines:
            lines.append("\n" if block.tight and was_tight else "\n\n")
        lines.append(block.text)
        was_tight = block.tight
    return "".join(lines)


def render(root: "LexborNode", dropped: Collection[int] = ()) -> list[Block]:
    """The text below a node in reading order, without what a browser never shows.

    dropped: `mem_id` of each element that is left out with all below it.
    """
    return _Renderer(root, dropped).blocks


@dataclass
class _Table:
    """The row being read, and the cells that reach into it from above: column -> (rows left, text)."""

    row: list[str] = field(default_factory=list)
    reaching: dict[int, tuple[int, str]] = field(default_factory=dict)

    def add(self, text: str, num_columns: int, num_rows: int) -> None:
        self._fill()
        for _ in range(num_columns):
            if num_rows > 1:
                self.reaching[len(self.row)] = (num_rows - 1, text)
            self.row.append(text)
            text = ""  # a wide cell's text stands once; what follows keeps its column

    def end_row(self) -> list[str]:
        self._fill()
        row, self.row = self.row, []
        return row

    def _fill(self) -> None:
        while (column := len(self.row)) in self.reaching:
            rows_left, text = self.reaching.pop(column)
            if rows_left > 1:
                self.reaching[column] = (rows_left - 1, text)
            self.row.append(text)


class _Renderer:
    """Walks the tree with a stack of its own, so that no depth of nesting can exhaust Python's."""

    def __init__(self, root: "LexborNode", dropped: Collection[int]) -> None:
        self.blocks: list[Block] = []
        self._line: list[str] = []
        self._prefix = ""
        self._lists: list[int | None] = []  # next number of each open list; None for bullets
        self._tables: list[_Table] = []
        self._cells: list[tuple[list[Block], list[str]]] = []  # what was being written outside each cell
        self._preformatted = 0
        for node, is_start in _walk(root, dropped):
            tag = node.tag or ""
            if tag == "-text":
                text = node.text_content or ""
                # A text's own line ends are spaces; only <br> breaks a line.
                self._line.append(text if self._preformatted else _SPACES.sub(" ", text))
            elif is_start:
                self._start(node, tag)
            else:
                self._end(node, tag)
        self._flush()

    def _start(self, node: "LexborNode", tag: str) -> None:
        if tag == "br":
            self._line.append("\n")
        elif tag in _CELLS and self._tables:
            self._cells.append((self.blocks, self._line))
            self.blocks, self._line = [], []
        elif tag in _BLOCKS:
            self._flush()
            if tag in ("ol", "ul"):
                self._lists.append(_number(node, "start", 1, 10**6) if tag == "ol" else None)
            elif tag == "li":
                self._prefix = self._bullet()
            elif tag == "table":
                self._tables.append(_Table())
            elif tag == "pre":
                self._preformatted += 1

    def _end(self, node: "LexborNode", tag: str) -> None:
        if tag in _CELLS and self._tables:
            self._end_cell(node)
        elif tag == "tr" and self._tables:
            self._flush()
            self._end_row()
        elif tag in _BLOCKS:
            self._flush(int(tag[1]) if tag in _HEADINGS else 0)
            if tag in ("ol", "ul") and self._lists:
                self._lists.pop()
            elif tag == "table" and self._tables:
                self._tables.pop()
            elif tag == "pre":
                self._preformatted -= 1

    def _end_cell(self, node: "LexborNode") -> None:
        self._flush()
        inner = "\n".join(block.text for block in self.blocks)
        self.blocks, self._line = self._cells.pop()
        text = squeeze(inner) if len(inner) <= _MAX_CELL_CHARS else inner
        self._tables[-1].add(text, _number(node, "colspan", 1, _MAX_SPAN), _number(node, "rowspan", 1, 1000))

    def _end_row(self) -> None:
        cells = self._tables[-1].end_row()
        if any(cells):
            lays_out = any("\n" in cell for cell in cells)
            row = "\n".join(filter(None, cells)) if lays_out else " | ".join(cells)
            self.blocks.append(Block(row.rstrip(), tight=not lays_out))

    def _bullet(self) -> str:
        if not self._lists:
            return "- "
        indent = "  " * (len(self._lists) - 1)
        number = self._lists[-1]
        if number is None:
            return f"{indent}- "
        self._lists[-1] = number + 1
        return f"{indent}{number}. "

    def _flush(self, heading: int = 0) -> None:
        text = "".join(self._line)
        self._line = []
        text = (
            text.strip("\n")
            if self._preformatted
            else "\n".join(filter(None, map(squeeze, text.split("\n"))))
        )
        if text.strip():
            self.blocks.append(Block(self._prefix + clean_text(text), heading, tight=bool(self._prefix)))
            self._prefix = ""


def _walk(root: "LexborNode", dropped: Collection[int]) -> Iterator[tuple["LexborNode", bool]]:
    """Every node before (True) and after (False) its children; texts once; unseen elements not at all."""
    stack = [(root, True)]
    while stack:
        node, is_start = stack.pop()
        tag = node.tag or ""
        if tag in _UNSEEN or (tag.startswith("-") and tag != "-text") or node.mem_id in dropped:
            continue
        yield node, is_start
        if is_start and tag != "-text":
            stack.append((node, False))
            stack.extend((child, True) for child in reversed(list(node.iter(include_text=True))))


def _number(node: "LexborNode", name: str, default: int, limit: int) -> int:
    match = re.match(r"\s*(\d{1,6})", node.attributes.get(name) or "")
    return min(max(int(match[1]), 1), limit) if match else default
