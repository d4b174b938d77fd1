"""The tasks read and answered."""

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.errors import UsageError
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.ruler.drawn import Draw, Drawn, Wanted
from lcdoc.evaluate.ruler.passages import Passages
from lcdoc.evaluate.ruler.plan import DRAWN, QA, RulerPlan
from lcdoc.evaluate.subject import Sheet, Subject
from lcdoc.evaluate.suite import Round, Suite
from lcdoc.tasks.progress import Observer

ANSWER_TOKENS = 128


@dataclass(frozen=True)
class RulerCell:
    """One text of a task read in one mode. score: from 0 to 1, see Drawn. prefill_s, kv_bytes: see Reply."""

    mode: str
    task: str
    length_tokens: int
    sample: int
    document_tokens: int
    prompt_tokens: int
    prefill_s: float
    kv_bytes: int
    answers: list[str]
    answer: str
    score: float
    seen: float | None = None


@dataclass(frozen=True)
class Setting:
    """A text to read, and its place in the plan."""

    task: str
    length_tokens: int
    sample: int
    drawn: Drawn
    sheet: Sheet


class RulerTest(Suite[RulerCell]):
    """A model and the texts of a plan. Making it loads no weights, and tells whether every text fits."""

    def __init__(self, settings: ReadSettings, plan: RulerPlan, qa: Path | None = None) -> None:
        """qa: a file of questions, for the task of that name. Raises DocumentError where a text can't be read,
        UsageError where one is too short and DoesNotFitError where the model's window is."""
        self._plan, self._subject = plan, Subject(settings, plan.modes)
        book = Haystack.open(plan.book, self._subject.tokenizer)
        draws = {task: _draw_of(task, qa) for task in plan.tasks}
        self.settings = [
            self._setting(task, length, sample, draws[task], book)
            for length in plan.lengths
            for task in plan.tasks
            for sample in range(plan.samples)
        ]
        head = self._subject.head(
            "ruler",
            **asdict(plan) | {"book": book.name},
            book_sha256=book.sha256,
            qa_file=qa.name if qa else None,
            qa_sha256=hashlib.sha256(qa.read_bytes()).hexdigest() if qa else None,
            max_new_tokens=ANSWER_TOKENS,
        )
        super().__init__(RulerCell, head, len(self.settings) * len(plan.modes))

    def rounds(self) -> Iterator[Round[RulerCell]]:
        """Text by text, mode beside mode."""
        for setting in self.settings:
            for mode in self._plan.modes:

                def measure(
                    observer: Observer, setting: Setting = setting, mode: str = mode
                ) -> Iterator[RulerCell]:
                    yield self._read(setting, mode, observer)

                yield Round(1, measure)

    def score(self) -> dict[str, Any]:
        return score(self.cells)

    def _setting(self, task: str, length: int, sample: int, draw: Draw, book: Haystack) -> Setting:
        drawn = draw(Wanted(book, length, f"{self._plan.seed} {task} {length} {sample}"))
        prompt = self._subject.prompt
        document_ids = prompt.head_ids() + drawn.token_ids
        question_ids = prompt.question_ids(drawn.question, first=True)
        sheet = self._subject.sheet(
            document_ids, [question_ids], ANSWER_TOKENS, drawn.document, [drawn.question]
        )
        return Setting(task, length, sample, drawn, sheet)

    def _read(self, setting: Setting, mode: str, observer: Observer) -> RulerCell:
        [reply] = self._subject.replies(mode, setting.sheet, ANSWER_TOKENS, observer)
        return RulerCell(
            mode=mode,
            task=setting.task,
            length_tokens=setting.length_tokens,
            sample=setting.sample,
            document_tokens=len(setting.drawn.token_ids),
            prompt_tokens=len(setting.sheet.document_ids) + len(setting.sheet.questions[0]),
            prefill_s=round(reply.prefill_s, 3),
            kv_bytes=reply.kv_bytes,
            answers=list(setting.drawn.answers),
            answer=reply.text,
            score=round(setting.drawn.score(reply.text), 4),
            seen=None if reply.seen is None else round(setting.drawn.score(reply.seen), 4),
        )


def _draw_of(task: str, qa: Path | None) -> Draw:
    if task != QA:
        return DRAWN[task]
    if qa is None:
        raise UsageError(
            f"the task {QA} needs questions; give a file of them with --qa, or leave it out of --tasks"
        )
    return Passages(qa).draw


def score(cells: list[RulerCell]) -> dict[str, dict[str, dict[str, dict[str, float | int]]]]:
    """By mode, length and task, and over "all" tasks: cells read and their mean score."""
    totals: dict[str, dict[str, dict[str, dict[str, float | int]]]] = {}
    for cell in cells:
        by_task = totals.setdefault(cell.mode, {}).setdefault(str(cell.length_tokens), {})
        for task in (cell.task, "all"):
            total = by_task.setdefault(task, {"cells": 0, "mean": 0.0})
            total["cells"] += 1
            total["mean"] += (cell.score - total["mean"]) / total["cells"]
    return totals
