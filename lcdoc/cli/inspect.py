"""`lcdoc inspect`: what a document holds and whether it fits, without loading any weights."""

from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import typer

from lcdoc.cli.ask import parse
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import complain
from lcdoc.cli.measures import count
from lcdoc.cli.output import json_text
from lcdoc.cli.sanitize import clean_line
from lcdoc.cli.totals import grouped_pages, page_name
from lcdoc.config import Settings
from lcdoc.documents.document import Document
from lcdoc.errors import DocumentError, ModelError
from lcdoc.tasks.answer import SCHEMA_VERSION

NOUNS = {"lines": "passage"}


@dataclass(frozen=True)
class TokenCount:
    """Tokens of all documents together for one model. window: what the model can attend over."""

    model: str
    tokens: int
    window: int
    tokens_by_page: dict[tuple[str, int], int]

    @property
    def fits(self) -> bool:
        from lcdoc.tasks.room import MIN_ANSWER_TOKENS

        return self.tokens + MIN_ANSWER_TOKENS <= self.window


def inspect(
    sources: list[str], settings: Settings, pages: str | None, password: str | None, as_json: bool
) -> int:
    """Shows every document that can be read, complains of each that can't, and returns the exit code."""
    display = open_display(settings.appearance)
    documents: list[Document] = []
    refused: list[DocumentError] = []
    try:
        for source in sources:
            try:
                documents += parse([source], pages, password, display)
            except DocumentError as error:
                refused.append(error)
    finally:
        display.clear()
    for refusal in refused:
        complain(str(refusal))
    if documents:
        counted, without = _count_tokens(documents, settings)
        if as_json:
            typer.echo(json_text(_report(documents, refused, counted, without), indent=2))
        else:
            _print(documents, counted, without)
    return refused[0].exit_code if refused else 0


def _count_tokens(documents: list[Document], settings: Settings) -> tuple[TokenCount | None, str | None]:
    """The count, or why there is none: it needs the model's tokenizer, never its weights."""
    from lcdoc.models import load_config, load_tokenizer, resolve

    try:
        files = resolve(settings.read.model)
    except ModelError as error:
        if settings.read.model is not None:
            raise
        return None, str(error)
    from lcdoc.tasks.room import context_window
    from lcdoc.tokens import tokenize

    tokenized = tokenize(load_tokenizer(files), documents)
    by_page: Counter[tuple[str, int]] = Counter()
    for span in tokenized.spans:
        by_page[span.document.source, span.page.number] += span.stop - span.start
    window = context_window(load_config(files))
    return TokenCount(files.name, len(tokenized.token_ids), window, dict(by_page)), None


def _report(
    documents: list[Document], refused: list[DocumentError], counted: TokenCount | None, without: str | None
) -> dict[str, Any]:
    fit = None
    if counted is not None:
        fit = {"model": counted.model, "tokens": counted.tokens, "context_window": counted.window}
        fit["fits"] = counted.fits
    return {
        "schema_version": SCHEMA_VERSION,
        "documents": [_document(document, counted) for document in documents],
        "refused": [str(error) for error in refused],
        "fit": fit,
        "tokens_unknown": without,
    }


def _document(document: Document, counted: TokenCount | None) -> dict[str, Any]:
    values = asdict(document)
    values["num_chars"] = document.num_chars
    for page, value in zip(document.pages, values["pages"], strict=True):
        del value["text"]
        value["num_chars"] = len(page.text)
        value["num_tokens"] = _page_tokens(document, page.number, counted)
    return values


def _page_tokens(document: Document, number: int, counted: TokenCount | None) -> int | None:
    return None if counted is None else counted.tokens_by_page.get((document.source, number), 0)


def _print(documents: list[Document], counted: TokenCount | None, without: str | None) -> None:
    for document in documents:
        _print_document(document, counted)
    if counted is None:
        typer.echo(f"tokens not counted: {without}")
        return
    verdict = "fits" if counted.fits else "does not fit"
    typer.echo(
        f"{count(counted.tokens, 'token')} for {clean_line(counted.model)}: {verdict} "
        f"its window of {count(counted.window, 'token')}"
    )


def _print_document(document: Document, counted: TokenCount | None) -> None:
    noun = NOUNS.get(document.unit, document.unit)
    typer.echo(clean_line(document.source))
    for label, value in (
        ("title", document.title or ""),
        ("format", document.format),
        ("length", f"{count(document.num_pages, noun)}, {count(document.num_chars, 'character')}"),
        *(("warning", warning) for warning in document.warnings),
        *(
            ("unread", group)
            for group in grouped_pages(
                (document.source, page.unread or "", page.number) for page in document.unread
            )
        ),
    ):
        if value:
            typer.echo(f"  {label:8} {clean_line(value)}")
    for page in document.pages:
        tokens = _page_tokens(document, page.number, counted)
        facts = [count(len(page.text), "character")]
        facts += [] if tokens is None else [count(tokens, "token")]
        facts += [f"unread: {page.unread}"] if page.unread else []
        name = page_name(document.unit, page.label)
        typer.echo(f"  {clean_line(name)}: {clean_line(', '.join([*facts, *page.warnings]))}")
