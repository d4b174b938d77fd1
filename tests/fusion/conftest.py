"""A tiny model, and pages of a novel as it tokenises them."""

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from lcdoc.documents.document import Document, Page
from lcdoc.tokens import tokenize

NOVEL = Path(__file__).parents[1] / "data/docs/frankenstein.txt"


@pytest.fixture(scope="session")
def tiny(write_tiny_model):
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=3, window=512, spread=0.2)


@pytest.fixture(scope="session")
def tokenizer(tiny):
    return AutoTokenizer.from_pretrained(tiny)


@pytest.fixture(scope="session")
def make_document():
    """A document of pages with so many characters of the novel each."""

    def make(*sizes, source="novel.pdf"):
        text, pages, start = NOVEL.read_text("utf-8")[20_000:], [], 0
        for number, size in enumerate(sizes, start=1):
            pages.append(Page(number, str(number), text[start : start + size]))
            start += size
        return Document(source, "pdf", "page", tuple(pages), len(pages))

    return make


@pytest.fixture(scope="session")
def tokens(tokenizer, make_document):
    """Two documents with short, long and empty pages, and one in which a letter takes several tokens."""
    odd = Document(
        "odd.txt", "text", "lines", (Page(1, "lines 1-2", "\u4e2d\u6587\U0001f600" * 300 + "\n \n"),), 1
    )
    return tokenize(tokenizer, [make_document(300, 5000, 0, 40, 1800), odd])
