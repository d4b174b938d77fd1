"""Whether the memory promise holds: real readings, each in a new process, under budgets that just allow them."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lcdoc.bench.excerpt import leading_pages
from lcdoc.bench.stairs import rungs_of, spread
from lcdoc.config import ReadSettings
from lcdoc.documents.document import Document
from lcdoc.engine.budget import Rung
from lcdoc.errors import DoesNotFitError, LcdocError, UsageError
from lcdoc.evaluate.report import new_report
from lcdoc.models import choose_device, choose_dtype, load_config, load_tokenizer, resolve
from lcdoc.tasks.forecast import Say

QUESTION = "What is this about?"
ANSWER_TOKENS = 4

# A budget is this much above the peak foretold: the same process takes a little more or less from run to run.
HAIR_BYTES = 2 << 20


@dataclass(frozen=True)
class BudgetRun:
    """One reading. page_numbers: those read, of num_pages. rung: the way that was taken. predicted_bytes and
    measured_bytes: peaks, both as told by the process that read."""

    source: str
    unit: str
    page_numbers: tuple[int, ...]
    num_pages: int
    tokens: int
    rung: str
    loss: str
    budget_bytes: int
    predicted_bytes: int
    measured_bytes: int

    @property
    def share_of_budget(self) -> float:
        """Above 1 the promise was broken."""
        return self.measured_bytes / self.budget_bytes

    @property
    def predicted_to_measured(self) -> float:
        """Above 1 the reading took less than was foretold."""
        return self.predicted_bytes / self.measured_bytes

    def to_json(self) -> dict[str, Any]:
        ratios = {
            "measured_to_budget": self.share_of_budget,
            "predicted_to_measured": self.predicted_to_measured,
        }
        return asdict(self) | ratios


@dataclass(frozen=True)
class Steps:
    """How much of each document is read, and under how many budgets. Raises UsageError for a value not allowed."""

    max_tokens: int = 3000
    count: int = 4

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max-tokens must be 1 or more, not {self.max_tokens}")
        if self.count < 2:
            raise UsageError(f"steps must be 2 or more, not {self.count}")


class BudgetBench:
    """options: of `lcdoc ask`, as settings came by. say hears which documents are left out."""

    def __init__(
        self,
        documents: Sequence[Document],
        settings: ReadSettings,
        steps: Steps,
        options: Sequence[str],
        password: str | None,
        say: Say,
    ) -> None:
        self._documents, self._settings, self._steps = documents, settings, steps
        self._options, self._password, self._say = options, password, say
        files = resolve(settings.model)
        self._tokenizer, self._config = load_tokenizer(files), load_config(files)
        self._device = choose_device(settings.device)
        self._dtype = choose_dtype(settings.dtype, self._device)
        self._head = new_report("bench budget", files.name, settings.device, settings.dtype) | {
            "settings": {
                **asdict(steps),
                "options": list(options),
                "answer_tokens": ANSWER_TOKENS,
                "hair_bytes": HAIR_BYTES,
            }
        }
        self._complete = False
        self._base_bytes = 0  # what the process that reads takes before the weights are loaded
        self.runs: list[BudgetRun] = []

    def run(self) -> Iterator[BudgetRun]:
        """Reads document after document under its budgets, the widest first, and yields each as it is done."""
        for whole in self._documents:
            document = leading_pages(self._tokenizer, whole, self._steps.max_tokens)
            try:
                rungs = self._rungs(document)
            except DoesNotFitError as error:
                self._say(f"{document.source} is left out: {error}")
                continue
            self._base_bytes = self._call("plan", document)["device"]["base_bytes"]
            for rung in spread(rungs, self._steps.count):
                run = self._measure(document, rung, rungs)
                self.runs.append(run)
                yield run
        self._complete = True

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON."""
        return self._head | {"complete": self._complete, "results": [run.to_json() for run in self.runs]}

    def _rungs(self, document: Document) -> list[Rung]:
        return rungs_of(
            document,
            QUESTION,
            ANSWER_TOKENS,
            self._settings,
            tokenizer=self._tokenizer,
            config=self._config,
            dtype=self._dtype,
            device=self._device,
        )

    def _measure(self, document: Document, rung: Rung, rungs: Sequence[Rung]) -> BudgetRun:
        """Reads once more where the process started with more or less than planning does and took another way."""
        foretold_bytes = {rung.name: rung.peak_bytes for rung in rungs}
        for _ in range(2):
            run = self._read(document, self._base_bytes + rung.peak_bytes + HAIR_BYTES)
            if run.rung in foretold_bytes:
                self._base_bytes = run.predicted_bytes - foretold_bytes[run.rung]
            if run.rung == rung.name:
                break
        return run

    def _read(self, document: Document, budget_bytes: int) -> BudgetRun:
        words = ["-q", QUESTION, "--budget", f"{budget_bytes}B"]
        answer = self._call("ask", document, *words)
        return BudgetRun(
            source=document.source,
            unit=document.unit,
            page_numbers=_numbers(document),
            num_pages=document.num_pages,
            tokens=answer["receipt"]["tokens_read"],
            rung=answer["plan"]["rung"],
            loss=answer["plan"]["loss"],
            budget_bytes=budget_bytes,
            predicted_bytes=answer["memory"]["predicted_peak_bytes"],
            measured_bytes=answer["memory"]["peak_bytes"],
        )

    def _call(self, command: str, document: Document, *words: str) -> Any:
        """What `lcdoc ask` or `lcdoc plan` prints of the document as JSON, in a new process."""
        pages = ",".join(map(str, _numbers(document)))
        call = [sys.executable, "-m", "lcdoc", command, *self._options, *words, "--pages", pages]
        call += ["--max-new-tokens", str(ANSWER_TOKENS), "--json", "--quiet", "--", document.source]
        secret = {"LCDOC_PASSWORD": self._password} if self._password else {}
        result = subprocess.run(
            call, env={**os.environ, **secret}, capture_output=True, encoding="utf-8", check=False
        )
        if result.returncode:
            said = result.stderr.strip().splitlines() or [f"the process ended with code {result.returncode}"]
            raise LcdocError(f"{document.source}: lcdoc {command} failed: {said[-1].removeprefix('lcdoc: ')}")
        return json.loads(result.stdout)


def _numbers(document: Document) -> tuple[int, ...]:
    return tuple(page.number for page in document.pages)
