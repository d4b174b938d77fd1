"""`lcdoc summarize`: a summary of whole documents, whatever their length, each piece of it with its pages."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lcdoc.cli import options
from lcdoc.cli.ask import parse
from lcdoc.cli.display import Display, is_terminal, open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.measures import bytes_text, clock, count
from lcdoc.cli.output import json_text
from lcdoc.cli.places import place_text
from lcdoc.cli.reading import exact_reading
from lcdoc.cli.sanitize import clean, clean_line
from lcdoc.cli.totals import grouped_pages, plan_line
from lcdoc.config import Settings
from lcdoc.documents.document import Document
from lcdoc.errors import UsageError
from lcdoc.tasks.progress import Progress

if TYPE_CHECKING:
    from lcdoc.tasks.summarize.summarize import Summarizer
    from lcdoc.tasks.summarize.summary import Place, Summary
    from lcdoc.tasks.summarize.wish import Wish

FORMATS = ("text", "markdown", "json")

Length = Annotated[str, typer.Option(metavar="LENGTH", help="short, medium, long, or a number of words.")]
Style = Annotated[
    str,
    typer.Option(help="prose, bullets, or chapters: as the document's outline has them, where it has one."),
]
Focus = Annotated[str | None, typer.Option(metavar="WORDS", help="What the summary should be about.")]
Format = Annotated[str | None, typer.Option("--format", help="text, markdown or json.")]
Method = Annotated[
    str,
    typer.Option(
        help="For documents longer than the model's window: hierarchical (summaries of parts are merged) or "
        "incremental (each part in the light of what came before: slower, more detail)."
    ),
]
PartTokens = Annotated[
    int | None, typer.Option(help="Tokens of a part; by default a quarter of the model's window.")
]
Restart = Annotated[bool, typer.Option("--restart", help="Forget what an interrupted run has saved.")]


@dataclass(frozen=True)
class Request:
    """What one call wants. form: one of FORMATS."""

    files: list[str]
    settings: Settings
    wish: "Wish"
    form: str
    pages: str | None
    password: str | None
    restart: bool


@exact_reading
def summarize_command(
    files: options.Files,
    settings: Settings,
    length: Length = "medium",
    style: Style = "prose",
    focus: Focus = None,
    form: Format = None,
    method: Method = "hierarchical",
    part_tokens: PartTokens = None,
    restart: Restart = False,
    pages: options.Pages = None,
    password: options.Password = None,
    json: options.Json = False,
) -> int:
    """Summarize whole documents, each paragraph, point or chapter with its pages.

    A document within the model's window is read at once, a longer one in parts. Interrupted, the same command goes on
    from the last finished part. Until it is done, the summaries of finished parts, with sentences of the document, are
    kept in a file of your own in lcdoc's cache folder.
    """
    from lcdoc.documents.source import expand_sources
    from lcdoc.tasks.summarize.wish import Wish

    if form is not None and form not in FORMATS:
        raise UsageError(f"--format must be one of {', '.join(FORMATS)}, not {form!r}")
    if json and form not in (None, "json"):
        raise UsageError(f"--json and --format {form} exclude each other; choose one")
    wish = Wish(length, style, focus, method, part_tokens)
    form = "json" if json else form or "text"
    return summarize(Request(expand_sources(files), settings, wish, form, pages, password, restart))


def summarize(request: Request) -> int:
    """Reads, writes, prints and returns the exit code."""
    display = open_display(request.settings.appearance)
    making: Summarizer | None = None
    try:
        with interruptible():
            documents = parse(request.files, request.pages, request.password, display)
            units = {document.source: document.unit for document in documents}
            from lcdoc.cli.models import require_model

            require_model(request.settings.read.model, display)
            display(Progress("load", 0, 0, 0.0, 0, 0))
            making = summarizer = _summarizer(request, documents, units, display)
            display.say(plan_line(summarizer.plan, summarizer.budget_bytes))
            if summarizer.num_saved:
                display.say(
                    f"going on from {count(summarizer.num_saved, 'finished text')} that an interrupted run saved in "
                    f"{summarizer.saved_in} (--restart begins anew)"
                )
            summary = summarizer.run()
    except KeyboardInterrupt:
        display.clear()
        display.say(_interrupted(making))
        return INTERRUPTED
    finally:
        display.clear()
    _print(summary, units, request.form)
    summarizer.forget()
    for line in _closing_lines(summary, units):
        display.say(line)
    return 0


def _summarizer(
    request: Request, documents: Sequence[Document], units: Mapping[str, str], display: Display
) -> "Summarizer":
    from lcdoc.tasks.storing import open_store
    from lcdoc.tasks.summarize.summarize import Summarizer

    return Summarizer(
        documents,
        request.settings.read,
        request.wish,
        observer=display,
        on_note=display.say,
        on_part=_PartLines(display, units),
        restart=request.restart,
        store=open_store(request.settings.storing),
    )


class _PartLines:
    """Where nothing can be redrawn, a line for each part."""

    def __init__(self, display: Display, units: Mapping[str, str]) -> None:
        self._display, self._units = display, units

    def __call__(self, done: int, total: int, place: "Place") -> None:
        if not is_terminal(sys.stderr):
            words = place_text(self._units[place.source], place.first_label, place.last_label)
            self._display.say(f"part {done} of {total}: {words}")


def _print(summary: "Summary", units: Mapping[str, str], form: str) -> None:
    from lcdoc.cli.summary_text import summary_text

    is_json = form == "json"
    text = json_text(_cleaned(summary.to_json()), indent=2) if is_json else summary_text(summary, units, form)
    if sys.stdout is not None:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()


def _cleaned(value: Any) -> Any:
    """The same, without anything that a terminal would obey."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, dict):
        return {key: _cleaned(item) for key, item in value.items()}
    return [_cleaned(item) for item in value] if isinstance(value, (list, tuple)) else value


def _interrupted(summarizer: "Summarizer | None") -> str:
    if summarizer is None:
        return "interrupted before anything was read"
    done, total = summarizer.parts_done, summarizer.num_parts
    if not done:
        return "interrupted before a part was finished"
    return (
        f"interrupted after {done} of {count(total, 'part')}; they are kept in {summarizer.saved_in}, with text of the "
        f"document: the same command goes on from there"
    )


def _closing_lines(summary: "Summary", units: Mapping[str, str]) -> list[str]:
    """How it was made, what it doesn't speak of, and what it took."""
    from lcdoc.cli.summary_text import places_of

    receipt, coverage, timing, memory = summary.receipt, summary.coverage, summary.timing, summary.memory
    spoken = f"coverage: stretches represented {coverage.represented:,} of {coverage.stretches:,}"
    if coverage.missing:
        spoken += f"; not represented, in all or in part: {places_of(coverage.missing, units)}"
    unread = grouped_pages((page.source, page.reason, page.page) for page in receipt.pages_unread)
    facts = [
        f"read {receipt.tokens_read:,} of {count(receipt.tokens_total, 'token')}, "
        f"{receipt.pages_read:,} of {count(receipt.pages_total, 'page')}",
        *(f"unread: {clean_line(group)}" for group in unread),
        _how(summary),
        "exact" if receipt.exact else "not exact",
        *receipt.notes,
        f"KV {bytes_text(memory.kv_bytes)} {receipt.kv_dtype}, peak {bytes_text(memory.peak_bytes)} of "
        f"{bytes_text(memory.budget_bytes)}",
        f"read for {timing.prefill_s:.1f} s ({timing.prefill_tokens_per_s:,.0f} tokens/s), wrote for "
        f"{timing.decode_s:.1f} s ({timing.decode_tokens_per_s:,.1f} tokens/s), {clock(timing.ttft_s)} in all",
    ]
    return [spoken, "; ".join(facts)]


def _how(summary: "Summary") -> str:
    receipt = summary.receipt
    if receipt.method == "exact":
        return "summarized at once"
    how = f"summarized in {count(receipt.parts, 'part')} of up to {receipt.part_tokens:,} tokens"
    if receipt.method != "parts":
        how += f", {receipt.method}, {count(receipt.merges, 'merge')} on {count(receipt.levels, 'level')}"
    if receipt.resumed:
        how += f", {receipt.resumed} of all texts from an earlier run"
    return how
