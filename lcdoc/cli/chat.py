"""A chat over documents that have been read, on a terminal."""

import sys
from typing import TYPE_CHECKING

from lcdoc.cli.ask import clearing, say_how_it_ended
from lcdoc.cli.display import Display
from lcdoc.cli.exits import INTERRUPTED, complain, interruptible
from lcdoc.cli.measures import ranges
from lcdoc.cli.output import TextWriter
from lcdoc.cli.questions import valid_text
from lcdoc.cli.sanitize import clean
from lcdoc.cli.totals import grouped_pages, reading_facts
from lcdoc.config import Sampling
from lcdoc.errors import UsageError
from lcdoc.tasks.answer import Receipt

if TYPE_CHECKING:
    from lcdoc.tasks.ask import Reading

PROMPT = "> "
HELP = (
    "/pages    which pages were read",
    "/receipt  how they were read",
    "/reset    forget the questions and answers so far",
    "/quit     leave (also Ctrl-D)",
    "Ctrl-C stops an answer.",
)


def chat(reading: "Reading", sampling: Sampling, display: Display) -> int:
    """Questions until the user leaves; returns the exit code."""
    import readline  # noqa: F401 - gives input() editing and history

    _tell(*reading_facts(reading.receipt()), "Ask a question; /help lists the commands.")
    warned = False
    while True:
        try:
            line = input(PROMPT).strip()
        except EOFError:
            _tell("")
            return 0
        except KeyboardInterrupt:
            _tell("")
            if warned:
                return INTERRUPTED
            warned = True
            _tell("Ctrl-C again leaves; so does /quit.")
            continue
        warned = False
        if line in ("/quit", "/exit"):
            return 0
        if line.startswith("/"):
            _obey(line, reading)
        elif line:
            _answer(line, reading, sampling, display)


def _answer(question: str, reading: "Reading", sampling: Sampling, display: Display) -> None:
    writer = TextWriter()
    question = valid_text(question)
    display.resume()
    try:
        with interruptible():
            answer = reading.ask(question, sampling, clearing(display, writer.text), keep_turn=True)
        display.clear()
        writer.answer(answer)
        say_how_it_ended(answer, display)
    except UsageError as error:
        display.clear()
        complain(str(error))
    except KeyboardInterrupt:
        display.clear()
        _tell("interrupted")


def _obey(line: str, reading: "Reading") -> None:
    if line == "/help":
        _tell(*HELP)
    elif line == "/pages":
        _tell(*_pages(reading.receipt(), reading))
    elif line == "/receipt":
        _tell(*reading_facts(reading.receipt()))
    elif line == "/reset":
        reading.forget_turns()
        _tell("Only the document is remembered.")
    else:
        _tell(f"{line}: no such command; /help lists them")


def _pages(receipt: Receipt, reading: "Reading") -> list[str]:
    unread = {(page.source, page.page) for page in receipt.pages_unread}
    lines = []
    for document in reading.documents:
        read = [page.number for page in document.pages if (document.source, page.number) not in unread]
        lines.append(
            f"{document.source}: read {document.unit} {ranges(read) or 'none'} of {document.num_pages}"
        )
    groups = grouped_pages((page.source, page.reason, page.page) for page in receipt.pages_unread)
    return [*lines, *(f"unread: {group}" for group in groups)]


def _tell(*lines: str) -> None:
    for line in lines:
        sys.stderr.write(f"{clean(line)}\n")
    sys.stderr.flush()
