"""`lcdoc ask`: documents first, then the model, then the questions."""

import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lcdoc.cli.display import Display, is_terminal, open_display
from lcdoc.cli.exits import INTERRUPTED, interruptible
from lcdoc.cli.measures import count
from lcdoc.cli.output import JsonlWriter, JsonWriter, MarkdownWriter, TextWriter, Writer
from lcdoc.cli.strict import strictly, unheard
from lcdoc.cli.totals import plan_line, totals_line
from lcdoc.config import Settings
from lcdoc.documents.document import Document
from lcdoc.errors import UsageError
from lcdoc.tasks.answer import Answer
from lcdoc.tasks.progress import Observer, Progress

if TYPE_CHECKING:
    from lcdoc.tasks.opening import AnyReading


@dataclass(frozen=True)
class Request:
    """What one call of `lcdoc ask` wants; with no questions, a chat. form: "text", "markdown", "json" or
    "jsonl". cites: whether answers come with citations. strict: whether only what the documents support is told."""

    documents: list[str]
    questions: list[str]
    settings: Settings
    pages: str | None
    password: str | None
    form: str
    cites: bool = True
    strict: bool = False


def ask(request: Request) -> int:
    """Reads, answers and returns the exit code."""
    if not request.questions:
        _check_chat(request)
    display = open_display(request.settings.appearance)
    where = "before anything was read"
    reading: AnyReading | None = None
    try:
        with interruptible():
            documents = parse(request.documents, request.pages, request.password, display)
            writer = _writer(request)
            observer = _both(display, writer)
            reading = load(documents, request.questions, request.settings, observer, display)
            display.say(plan_line(reading.plan, reading.budget_bytes))
            if reading.not_stored:
                display.say(f"not stored: {reading.not_stored}")
            writer.plan(reading.plan)
            reading.read()
            if reading.tokens_from_store:
                display.say(
                    f"{reading.tokens_from_store:,} of {count(reading.tokens_total, 'token')} came from the store"
                )
            if request.questions:
                return _answer_all(reading, request, writer, display)
    except KeyboardInterrupt:
        display.clear()
        if reading is not None:
            where = f"after reading {reading.tokens_read:,} of {reading.tokens_total:,} tokens"
            if reading.tokens_stored:
                where += f"; the first {reading.tokens_stored:,} are in the store and will not be read again"
        display.say(f"interrupted {where}")
        return INTERRUPTED
    finally:
        display.clear()
    from lcdoc.cli.chat import Chat

    return Chat(reading, request.settings.sampling, display).run()


def parse(sources: list[str], pages: str | None, password: str | None, display: Display) -> list[Document]:
    """All documents, with what is wrong with each said once."""
    from lcdoc.documents import load_document

    display(Progress("parse", 0, 0, 0.0, 0, 0))
    documents = [load_document(source, pages=pages, password=password) for source in sources]
    for document in documents:
        for warning in document.warnings:
            display.say(f"{document.source}: {warning}")
    return documents


def _check_chat(request: Request) -> None:
    """A chat needs a person: raises UsageError anywhere else."""
    if request.strict:
        raise UsageError("--strict needs a question: a chat prints its answers as they are written")
    terminals = all(is_terminal(stream) for stream in (sys.stdin, sys.stdout, sys.stderr))
    if request.form != "text" or not terminals or "-" in request.documents:
        raise UsageError("no question: give one after the documents or with -q (a chat needs a terminal)")


def _writer(request: Request) -> Writer:
    if request.form == "json":
        return JsonWriter(len(request.questions))
    if request.form == "markdown":
        return MarkdownWriter()
    return JsonlWriter() if request.form == "jsonl" else TextWriter()


def _both(display: Display, writer: Writer) -> Observer:
    def observe(progress: Progress) -> None:
        display(progress)
        writer.progress(progress)

    return observe


def load(
    documents: list[Document],
    questions: list[str],
    settings: Settings,
    observer: Observer,
    display: Display,
) -> "AnyReading":
    """The model, ready to read the documents. questions: those that will be asked, as far as they are known."""
    from lcdoc.cli.models import require_model

    require_model(settings.read.model, display)
    display(Progress("load", 0, 0, 0.0, 0, 0))
    from lcdoc.tasks.opening import open_reading
    from lcdoc.tasks.storing import open_store

    return open_reading(
        documents,
        settings.read,
        max_new_tokens=settings.sampling.max_new_tokens,
        questions=questions,
        observer=observer,
        on_note=display.say,
        store=open_store(settings.storing),
    )


def _answer_all(reading: "AnyReading", request: Request, writer: Writer, display: Display) -> int:
    answers: list[Answer] = []
    code = 0
    try:
        for question in request.questions:
            if len(request.questions) > 1:
                display.say(f"question: {question}")
            display.resume()
            on_text = clearing(display, writer.text) if request.form == "text" else writer.text
            answer = reading.ask(question, request.settings.sampling, unheard if request.strict else on_text)
            if request.strict:
                answer, verdict = strictly(answer, display, request.form)
                code = code or verdict
                on_text(answer.answer)
            answers.append(answer if request.cites else replace(answer, citations=()))
            display.clear()
            writer.answer(answers[-1])
            say_how_it_ended(answers[-1], display)
            if answers[-1].finish_reason == "interrupted":
                return INTERRUPTED
    finally:
        writer.close()
        if answers:
            display.clear()
            display.say(totals_line(answers))
    return code


def clearing(display: Display, on_text: Callable[[str], None]) -> Callable[[str], None]:
    """Where text and display share a terminal, the display goes before the first piece of text."""
    if not is_terminal(sys.stdout):
        return on_text

    def write(piece: str) -> None:
        display.clear()
        on_text(piece)

    return write


def say_how_it_ended(answer: Answer, display: Display) -> None:
    """Marks an answer that is not whole."""
    if answer.finish_reason == "interrupted":
        display.say("the answer was interrupted and is not complete")
    elif answer.finish_reason == "length":
        display.say("the answer was cut at its length limit; --max-new-tokens allows more")
    elif answer.finish_reason == "repetition":
        display.say("the answer went in a circle and was stopped")
    if answer.circles_broken:
        times = count(answer.circles_broken, "time")
        display.say(f"the answer said a phrase over and over and was led out of that {times}")
