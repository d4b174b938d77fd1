"""Reads documents of many formats into pages of plain text, and says what it could not read."""

from lcdoc.documents.document import Document, Page
from lcdoc.documents.load import load_document
from lcdoc.documents.page_range import PageRange, parse_page_range
from lcdoc.documents.source import expand_sources

__all__ = ["Document", "Page", "PageRange", "expand_sources", "load_document", "parse_page_range"]
