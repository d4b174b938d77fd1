"""A chat over documents that have been read, on a terminal."""

import sys
from collections.abc import Iterator
from pathlib import Path

from lcdoc.cli.ask import clearing, say_how_it_ended
from lcdoc.cli.display import Display
from lcdoc.cli.exits import INTERRUPTED, complain, interruptible
from lcdoc.cli.measures import count, ranges
from lcdoc.cli.output import TextWriter, markdown_of
from lcdoc.cli.questions import valid_text
from lcdoc.cli.sanitize import clean, clean_line
from lcdoc.cli.totals import grouped_pages, reading_facts
from lcdoc.config import Sampling
from lcdoc.errors import UsageError
from lcdoc.tasks.answer import Answer, Receipt
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.opening import AnyReading

PROMPT = "> "
ALONE = "Each question is answered by itself: a document read in parts is searched anew for every one."


class Chat:
    """Questions and answers, one after the other. Over documents that are read at once later questions see the earlier
    ones, unless the user says otherwise."""

    def __init__(self, reading: AnyReading, sampling: Sampling, display: Display) -> None:
        self._reading, self._sampling, self._display = reading, sampling, display
        self._keeps_turns = isinstance(reading, Reading)
        self._answers: list[Answer] = []
        self._commands = {
            "/pages": (self._pages, "which pages were read"),
            "/receipt": (self._facts, "how they were read"),
            "/save": (self._save, "FILE.md, the questions and answers so far"),
            "/help": (self._help, "this list"),
        }
        if isinstance(reading, Reading):
            self._commands["/keep"] = (self._keep, "on or off: whether later questions see this one")
            self._commands["/reset"] = (self._reset, "forget the questions and answers so far")

    def run(self) -> int:
        """Goes on until the user leaves; returns the exit code."""
        import readline  # noqa: F401 - gives input() editing and history

        _tell(*self._facts(), "Ask a question; /help lists the commands.")
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
                self._obey(line)
            elif line:
                self._answer(valid_text(line))

    def _answer(self, question: str) -> None:
        writer, display = TextWriter(), self._display
        display.resume()
        on_text = clearing(display, writer.text)
        try:
            with interruptible():
                if isinstance(self._reading, Reading):
                    answer = self._reading.ask(question, self._sampling, on_text, keep_turn=self._keeps_turns)
                else:
                    answer = self._reading.ask(question, self._sampling, on_text)
            display.clear()
            writer.answer(answer)
            say_how_it_ended(answer, display)
            self._answers.append(answer)
        except UsageError as error:
            display.clear()
            complain(str(error))
        except KeyboardInterrupt:
            display.clear()
            _tell("interrupted")

    def _obey(self, line: str) -> None:
        name, _, words = line.partition(" ")
        if name not in self._commands:
            _tell(f"{name}: no such command; /help lists them")
            return
        _tell(*self._commands[name][0](words.strip()))

    def _help(self, _: str) -> Iterator[str]:
        for name, (_command, what) in self._commands.items():
            yield f"{name:<9} {what}"
        yield "/quit     leave (also Ctrl-D)"
        yield "Ctrl-C stops an answer."

    def _receipt(self) -> Receipt | None:
        """Of the reading at once, or of what the last answer was drawn from."""
        if isinstance(self._reading, Reading):
            return self._reading.receipt()
        return self._answers[-1].receipt if self._answers else None

    def _facts(self, _: str = "") -> list[str]:
        receipt = self._receipt()
        return [ALONE] if receipt is None else reading_facts(receipt)

    def _pages(self, _: str) -> list[str]:
        receipt = self._receipt()
        if receipt is None:
            return ["Nothing was asked yet; what is read in parts is read for a question."]
        unread = {(page.source, page.page) for page in receipt.pages_unread}
        lines = []
        for document in self._reading.documents:
            read = [page.number for page in document.pages if (document.source, page.number) not in unread]
            lines.append(
                f"{document.source}: read {document.unit} {ranges(read) or 'none'} of {document.num_pages}"
            )
        groups = grouped_pages((page.source, page.reason, page.page) for page in receipt.pages_unread)
        return [*lines, *(f"unread: {group}" for group in groups)]

    def _keep(self, word: str) -> list[str]:
        if word in ("on", "off"):
            self._keeps_turns = word == "on"
        elif word:
            return [f"/keep takes on or off, not {word}"]
        if self._keeps_turns:
            return ["Questions from now on are seen by those after them."]
        return ["Questions from now on are forgotten once they are answered."]

    def _reset(self, _: str) -> list[str]:
        assert isinstance(self._reading, Reading)
        self._reading.forget_turns()
        return ["Only the document is remembered."]

    def _save(self, name: str) -> list[str]:
        if not name:
            return ["/save needs the name of a file, such as /save answers.md"]
        if not self._answers:
            return ["There is nothing to save yet."]
        path = Path(name).expanduser()
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write("\n".join(self._markdown()))
        except FileExistsError:
            return [f"{name} is there already and stays as it is; choose another name"]
        except OSError as error:
            return [f"{name} can't be written: {error.strerror}"]
        return [f"{count(len(self._answers), 'answer')} written to {name}"]

    def _markdown(self) -> Iterator[str]:
        num_notes = 0
        for answer in self._answers:
            yield f"## {clean_line(answer.question)}\n\n{markdown_of(answer, num_notes + 1)}\n"
            num_notes += len(answer.citations)
        yield f"{'; '.join(clean_line(fact) for fact in reading_facts(self._answers[-1].receipt))}\n"


def _tell(*lines: str) -> None:
    for line in lines:
        sys.stderr.write(f"{clean(line)}\n")
    sys.stderr.flush()
