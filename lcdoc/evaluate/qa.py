"""Questions about texts, with answers known to be right."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.documents.document import Document
from lcdoc.documents.text import text_document
from lcdoc.errors import UsageError
from lcdoc.evaluate.items import Item, load_items
from lcdoc.evaluate.modes import check_modes
from lcdoc.evaluate.subject import Sheet, Subject
from lcdoc.evaluate.suite import Round, Suite
from lcdoc.evaluate.whole import WHOLE_MODES
from lcdoc.tasks.progress import Observer
from lcdoc.tokens import tokenize

EXACT = "exact"
# What is added to a question, so that the answer has the form that its metric looks for.
HINTS = {
    "f1": "Answer as briefly as you can.",
    "choice": "Answer with the letter of the right option alone.",
    "contains": "",
    "rouge": "",
    "number": "Answer with the number alone.",
    "edit": "Answer with that one line alone.",
    "class": "Answer with the name of the class alone.",
}
ANSWER_TOKENS = {
    "f1": 64,
    "choice": 16,
    "contains": 128,
    "rouge": 256,
    "number": 32,
    "edit": 64,
    "class": 64,
}


@dataclass(frozen=True)
class QaPlan:
    """Which questions are asked. max_tokens, min_tokens: of a document, longer and shorter ones are left out. limit: at
    most so many questions, spread evenly over those left; None is all. shared_reading: a text is read once for all its
    questions of a metric. Raises UsageError for a value that is not allowed."""

    max_tokens: int = 8000
    limit: int | None = None
    modes: tuple[str, ...] = (EXACT,)
    shared_reading: bool = False
    min_tokens: int = 1

    def __post_init__(self) -> None:
        check_modes(self.modes, WHOLE_MODES)
        for name, value in (
            ("max tokens", self.max_tokens),
            ("min tokens", self.min_tokens),
            ("limit", self.limit),
        ):
            if value is not None and value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")


@dataclass(frozen=True)
class Task:
    """An item as text and as token ids. document_ids: all that is read before the question."""

    item: Item
    document: Document
    document_ids: list[int]
    question_ids: list[int]
    question: str


@dataclass(frozen=True)
class QaCell:
    """One item read in one mode. score: from 0 to 1, by the item's metric. prefill_s, kv_bytes: see Reply."""

    mode: str
    id: str
    source: str
    metric: str
    prompt_tokens: int
    prefill_s: float
    kv_bytes: int
    answer: str
    score: float


class QaTest(Suite[QaCell]):
    """A model and the questions of a file. Making it loads no weights, and tells which questions fit."""

    def __init__(self, settings: ReadSettings, path: Path, plan: QaPlan) -> None:
        """Raises DocumentError where the file can't be read, UsageError where none of its texts is as long as asked."""
        self._plan, self._subject = plan, Subject(settings, plan.modes)
        items = load_items(path)
        fitting = [task for item, task in zip(items, self._tasks(items), strict=True) if self._fits(task)]
        if not fitting:
            raise UsageError(
                f"none of the {len(items)} texts of {path} has from {plan.min_tokens:,} to {plan.max_tokens:,} tokens "
                f"and fits the model's window; choose other --min-tokens and --max-tokens, or a model with a longer "
                f"window with --model"
            )
        kept = _spread(fitting, plan.limit)
        self._groups = _groups(kept) if plan.shared_reading else [[task] for task in kept]
        head = self._subject.head(
            "qa",
            **asdict(plan),
            file=path.name,
            file_sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
            questions_in_file=len(items),
            questions_left_out=len(items) - len(fitting),
            max_new_tokens=ANSWER_TOKENS,
            hints=HINTS,
        )
        super().__init__(QaCell, head, len(kept) * len(plan.modes))

    def rounds(self) -> Iterator[Round[QaCell]]:
        """Text by text, mode beside mode."""
        for group in self._groups:
            for mode in self._plan.modes:

                def measure(
                    observer: Observer, group: list[Task] = group, mode: str = mode
                ) -> Iterator[QaCell]:
                    yield from self._read(group, mode, observer)

                yield Round(len(group), measure)

    def score(self) -> dict[str, Any]:
        return score(self.cells)

    def _read(self, group: list[Task], mode: str, observer: Observer) -> Iterator[QaCell]:
        """The questions of one text and metric."""
        answer_tokens = ANSWER_TOKENS[group[0].item.metric]
        replies = self._subject.replies(mode, self._sheet(group, answer_tokens), answer_tokens, observer)
        for task, reply in zip(group, replies, strict=True):
            item = task.item
            yield QaCell(
                mode=mode,
                id=item.id,
                source=item.source,
                metric=item.metric,
                prompt_tokens=len(task.document_ids) + len(task.question_ids),
                prefill_s=round(reply.prefill_s, 3),
                kv_bytes=reply.kv_bytes,
                answer=reply.text,
                score=round(item.score(reply.text), 4),
            )

    def _tasks(self, items: list[Item]) -> Iterator[Task]:
        prompt, documents = self._subject.prompt, dict[str, tuple[Document, list[int]]]()
        for item in items:
            if item.context not in documents:
                document = text_document(item.context, item.id, "text", ())
                token_ids = tokenize(self._subject.tokenizer, [document]).token_ids
                documents[item.context] = document, prompt.head_ids() + token_ids
            question = f"{item.question}\n{HINTS[item.metric]}".strip()
            yield Task(item, *documents[item.context], prompt.question_ids(question, first=True), question)

    def _fits(self, task: Task) -> bool:
        """Whether the text has the right length, and the window holds it with its question and the longest answer."""
        document_tokens = len(task.document_ids) - len(self._subject.prompt.head_ids())
        needed = len(task.document_ids) + len(task.question_ids) + ANSWER_TOKENS[task.item.metric]
        wanted = self._plan.min_tokens <= document_tokens <= self._plan.max_tokens
        return wanted and self._subject.reaches(needed)

    def _sheet(self, group: list[Task], answer_tokens: int) -> Sheet:
        questions = [task.question_ids for task in group]
        asked = [task.question for task in group]
        return self._subject.sheet(group[0].document_ids, questions, answer_tokens, group[0].document, asked)


def score(cells: list[QaCell]) -> dict[str, dict[str, dict[str, float | int]]]:
    """By mode and metric, and over "all": cells read, their mean score, and how many answers are to the letter those
    of exact reading."""
    exact = {cell.id: cell.answer for cell in cells if cell.mode == EXACT}
    groups: dict[str, dict[str, list[QaCell]]] = {}
    for cell in cells:
        for metric in (cell.metric, "all"):
            groups.setdefault(cell.mode, {}).setdefault(metric, []).append(cell)
    return {
        mode: {
            metric: {
                "cells": len(group),
                "mean": sum(cell.score for cell in group) / len(group),
                "same_as_exact": sum(exact.get(cell.id) == cell.answer for cell in group),
            }
            for metric, group in by_metric.items()
        }
        for mode, by_metric in groups.items()
    }


def _spread(tasks: list[Task], limit: int | None) -> list[Task]:
    if limit is None or limit >= len(tasks):
        return tasks
    return [tasks[idx * len(tasks) // limit] for idx in range(limit)]


def _groups(tasks: list[Task]) -> list[list[Task]]:
    """The tasks that share a text and a metric, together."""

    def place(task: Task) -> tuple[str, str]:
        return task.item.context, task.item.metric

    return [list(group) for _, group in groupby(sorted(tasks, key=place), key=place)]
