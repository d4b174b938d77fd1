"""What goes to stdout: the answers as text, as one JSON object, or as JSON events line by line."""

import json
import re
import sys
from dataclasses import asdict
from typing import Any

from lcdoc.cli.footnotes import footnotes, markdown_footnotes, marked
from lcdoc.cli.sanitize import Sanitizer, clean
from lcdoc.tasks.answer import SCHEMA_VERSION, Answer, PlanSummary
from lcdoc.tasks.progress import Progress

# Legal in JSON as they are, but able to change how a terminal shows it, or impossible to encode.
ESCAPED_IN_JSON = re.compile("[\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


class Writer:
    """Hears what happens, in order, for each question: text pieces, then the answer. Each kind of writer prints what
    concerns it."""

    def plan(self, plan: PlanSummary) -> None:
        return

    def progress(self, progress: Progress) -> None:
        return

    def text(self, piece: str) -> None:
        return

    def answer(self, answer: Answer) -> None:
        return

    def close(self) -> None:
        return


class TextWriter(Writer):
    """The answers' text as it is made, cleaned for a terminal, with footnotes under each; a blank line between two
    answers."""

    def __init__(self) -> None:
        self._num_answers = 0
        self._begin()

    def text(self, piece: str) -> None:
        self._write(self._sanitizer.feed(piece))

    def answer(self, answer: Answer) -> None:
        self._write(self._sanitizer.flush())
        if self._started:
            emit("\n")
            if answer.citations:
                emit("\n" + "".join(f"{note}\n" for note in footnotes(answer.citations)))
        self._num_answers += 1
        self._begin()

    def _begin(self) -> None:
        self._sanitizer, self._started, self._space = Sanitizer(), False, ""

    def _write(self, text: str) -> None:
        """White space waits until something follows it: an answer neither starts nor ends with any."""
        text = self._space + text
        visible = text.rstrip()
        self._space = text[len(visible) :]
        if not self._started:
            visible = visible.lstrip()
        if not visible:
            return
        if not self._started and self._num_answers:
            emit("\n")
        self._started = True
        emit(visible)


class MarkdownWriter(Writer):
    """The answers with footnotes in Markdown, each once it is whole, as its marks stand within it."""

    def __init__(self) -> None:
        self._num_notes = self._num_answers = 0

    def answer(self, answer: Answer) -> None:
        emit(("\n" if self._num_answers else "") + markdown_of(answer, self._num_notes + 1) + "\n")
        self._num_notes += len(answer.citations)
        self._num_answers += 1


def markdown_of(answer: Answer, first: int) -> str:
    """The answer with its footnotes. first: the number of the first one."""
    blocks = [clean(marked(answer.answer, answer.citations, first))]
    blocks += ["\n".join(markdown_footnotes(answer.citations, first))] if answer.citations else []
    return "\n\n".join(blocks)


class JsonWriter(Writer):
    """One object: the answer, or several under "answers"."""

    def __init__(self, num_questions: int) -> None:
        self._several = num_questions > 1
        self._answers: list[Answer] = []

    def answer(self, answer: Answer) -> None:
        self._answers.append(answer)

    def close(self) -> None:
        """Prints what was answered, even where a later question failed."""
        objects = [answer.to_json() for answer in self._answers]
        if objects:
            whole = {"schema_version": SCHEMA_VERSION, "answers": objects} if self._several else objects[0]
            emit(json_text(whole, indent=2) + "\n")


class JsonlWriter(Writer):
    """Events plan, prefill, token, citation and done; "question" counts the questions from 0."""

    def __init__(self) -> None:
        self._question = 0

    def plan(self, plan: PlanSummary) -> None:
        self._event("plan", schema_version=SCHEMA_VERSION, plan=asdict(plan))

    def progress(self, progress: Progress) -> None:
        if progress.phase == "read":
            values = asdict(progress)
            del values["phase"]
            self._event("prefill", **values)

    def text(self, piece: str) -> None:
        self._event("token", question=self._question, text=piece)

    def answer(self, answer: Answer) -> None:
        for citation in answer.citations:
            self._event("citation", question=self._question, citation=asdict(citation))
        self._event("done", question=self._question, answer=answer.to_json())
        self._question += 1

    def _event(self, event: str, **values: Any) -> None:
        emit(json_text({"event": event, **values}) + "\n")


def json_text(value: Any, indent: int | None = None) -> str:
    """JSON with letters of every script as they are and every control character escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, indent=indent)
    return ESCAPED_IN_JSON.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def emit(text: str) -> None:
    """Writes to stdout at once."""
    if sys.stdout is not None:
        sys.stdout.write(text)
        sys.stdout.flush()
