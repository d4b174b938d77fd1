"""The needle test's prompts for other programs to answer, token for token."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lcdoc.evaluate.grid import Grid
from lcdoc.evaluate.needle import make_questions, open_books
from lcdoc.evaluate.report import write_lines
from lcdoc.models import load_tokenizer, resolve


def export_questions(path: Path, model: str | None, grid: Grid) -> int:
    """Writes every question of the grid as a line of JSON and returns how many; no weights are loaded.

    A line: document_ids and question_ids, to be read one after the other, the key asked for, the value that a right
    answer holds, and length_tokens, depth, seed, template, book, document_tokens, needle_depth. model: whose
    tokenizer. Raises LcdocError where the file can't be written.
    """
    tokenizer = load_tokenizer(resolve(model))
    books = open_books(grid, tokenizer)

    def lines() -> Iterator[dict[str, Any]]:
        for book in books:
            for question in make_questions(book, grid):
                line = asdict(question)
                del line["document"]  # its text is in its tokens
                yield line

    return write_lines(path, lines())
