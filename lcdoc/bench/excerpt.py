"""The first pages of a document, about as many as make a number of tokens."""

from dataclasses import replace
from typing import Any

from lcdoc.documents.document import Document
from lcdoc.errors import DocumentError
from lcdoc.tokens import tokenize


def leading_pages(tokenizer: Any, document: Document, max_tokens: int) -> Document:
    """The same document with its first pages: as far as the one that reaches max_tokens, or without that one where it
    would make them more than twice as many; never less than one page with text. Raises DocumentError for a document
    without text."""
    spans = tokenize(tokenizer, [document]).spans
    if not spans:
        raise DocumentError(f"{document.source}: holds no text that the model can read")
    if spans[-1].stop <= max_tokens:
        return document
    fitting = [span for span in spans if span.start < max_tokens and span.stop <= 2 * max_tokens]
    last = (fitting[-1] if fitting else spans[0]).page.number
    return replace(document, pages=tuple(page for page in document.pages if page.number <= last))
