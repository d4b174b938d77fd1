"""Web pages: the main text, without menus, in sections by heading."""

import re
from typing import TYPE_CHECKING

from lcdoc.documents.cleaning import clean_text, squeeze
from lcdoc.documents.document import Document
from lcdoc.documents.encoding import decode
from lcdoc.documents.markup import Block, render
from lcdoc.documents.sections import split_at_headings
from lcdoc.errors import DocumentError

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_MENUS = (
    "nav, [role=navigation], [role=search], [role=menu], [role=menubar], [hidden], dialog, button, select, "
    "input, textarea, [style*='display:none'], [style*='display: none']"
)
# Dropped only outside the main text: an article's own header holds its title.
_PAGE_EDGES = "header, footer, aside, [role=banner], [role=contentinfo], [role=complementary]"
_MENU_CLASS = re.compile(
    r"(?:^|[\s_-])(?:nav|navbar|navbox|menu|breadcrumbs?|dropdown|editsection|skip-?link|noprint"
    r"|sidebar|catlinks)(?:$|[\s_-])",
    re.IGNORECASE,
)
_MENU_LINK_SHARE = 0.5
_MAIN = ("main", "[role=main]", "article")
_MIN_MAIN_SHARE = 0.5
# Elements that stay open until they are closed. Parsing takes time with the square of how many are open at once, some
# seconds for this many; no browser shows more than a few hundred.
_TAG = re.compile(
    r"<(/?)(?!(?:p|li|t[dhr]|d[dt]|option|tbody|thead|tfoot|colgroup|br|img|hr|input|meta|link|area|base|col|embed|source"
    r"|track|wbr|param)[\s/>])[a-z]",
    re.IGNORECASE,
)
_MAX_OPEN = 50_000


def read_html(data: bytes, source: str) -> Document:
    """Sections by heading, labelled by it."""
    text, warnings = decode(data, source, markup=True)
    tree = _tree(text, source)
    title_node = tree.css_first("title")
    title = squeeze(clean_text(title_node.text())) if title_node is not None else ""
    pages = split_at_headings(_main_blocks(tree))
    return Document(source, "html", "section", tuple(pages), len(pages), title or None, warnings)


def render_all(text: str, source: str) -> list[Block]:
    """Everything that markup shows, menus too: for books and letters, which have none to drop."""
    root = _tree(text, source).body
    return [] if root is None else render(root)


def _tree(text: str, source: str) -> "LexborHTMLParser":
    from selectolax.lexbor import LexborHTMLParser

    num_open = 0
    for tag in _TAG.finditer(text):
        num_open = max(0, num_open - 1) if tag[1] else num_open + 1
        if num_open > _MAX_OPEN:
            raise DocumentError(f"{source}: markup nested deeper than the limit of {_MAX_OPEN:,} elements")
    return LexborHTMLParser(text)


def _main_blocks(tree: "LexborHTMLParser") -> list[Block]:
    body = tree.body
    if body is None:
        return []
    dropped = {node.mem_id for node in body.css(_MENUS)}
    dropped |= {
        node.mem_id
        for node in body.css("[class]")
        if _MENU_CLASS.search(node.attributes.get("class") or "") and _is_mostly_links(node)
    }
    blocks = render(body, dropped)
    for selector in _MAIN:
        found = body.css(selector)
        if len(found) == 1:
            main = render(found[0], dropped)
            if _num_chars(main) >= _MIN_MAIN_SHARE * _num_chars(blocks):
                return main
    dropped |= {node.mem_id for node in body.css(_PAGE_EDGES) if not _is_inside_article(node)}
    # A page made of nothing but menus is read with them rather than not at all.
    return render(body, dropped) or render(body)


def _num_chars(blocks: list[Block]) -> int:
    return sum(len(block.text) for block in blocks)


def _is_mostly_links(node: "LexborNode") -> bool:
    num_chars = len(squeeze(node.text()))
    return sum(len(squeeze(link.text())) for link in node.css("a")) >= _MENU_LINK_SHARE * num_chars


def _is_inside_article(node: "LexborNode") -> bool:
    parent = node.parent
    while parent is not None:
        if parent.tag in ("article", "main"):
            return True
        parent = parent.parent
    return False
