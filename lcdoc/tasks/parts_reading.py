"""Asking of a document that is longer than the model can read at once: it is read in parts, what bears on a question is
found in all of them, and this is read again together for the answer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain

import torch

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document
from lcdoc.engine.memory import AllocationFailed, release_unused
from lcdoc.errors import DocumentError, DoesNotFitError, UsageError
from lcdoc.fusion import attention, lexical
from lcdoc.fusion.excerpt import choose, excerpt
from lcdoc.fusion.heads import choose_heads
from lcdoc.fusion.part_reader import PartReader
from lcdoc.fusion.ranking import fuse
from lcdoc.fusion.spans import Span
from lcdoc.tasks.answer import Answer, PlanSummary
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.host import Host
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.parts_plan import again_settings, cut, plan_parts
from lcdoc.tasks.parts_receipt import parts_receipt
from lcdoc.tasks.plan import profile_for
from lcdoc.tasks.progress import Observer, Progress, silent
from lcdoc.tasks.room import Need
from lcdoc.tokens import Prompt, TokenizedDocument, tokenize


class PartsReading:
    """As Reading, for documents that are read in parts.

    Making it loads the model; `read` reads all parts, one at a time, with every known question; `ask` may then be
    called any number of times. A question that was not known has all parts read once more.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        settings: ReadSettings,
        *,
        max_new_tokens: int = 512,
        questions: Sequence[str],
        observer: Observer = silent,
        on_note: Callable[[str], None] = lambda note: None,
        host: Host | None = None,
        tokens: TokenizedDocument | None = None,
    ) -> None:
        """Arguments and errors as those of Reading; one question or more has to be known."""
        started = time.perf_counter()
        self.documents, self._observer, self._on_note = tuple(documents), observer, on_note
        self._host = host = host or Host(settings)
        self._settings = settings
        self._prompt = Prompt.from_tokenizer(host.tokenizer)
        self.tokens = tokens or tokenize(host.tokenizer, documents)
        if not self.tokens.token_ids:
            raise DocumentError("the document holds no text that the model can read")
        self._questions, self._max_new_tokens = tuple(questions), max_new_tokens
        need = Need.of(self._prompt, self.tokens, questions, max_new_tokens)
        shape = host.shape(settings.weights)
        self._plan = plan_parts(host.plan, host.config, settings, need, shape, self.tokens)
        self._part_plan = self._plan.part
        self._prompt_tokens = need.prompt_tokens
        self._parts = cut(self._plan, self.tokens)
        self._spans = list(chain.from_iterable(self._parts))
        profile = profile_for(with_own_profile(settings, host.files), shape)
        self._heads = choose_heads(profile, shape.num_kv_heads, shape.windows)
        host.load(settings.weights, self._part_plan.rung.offloaded_layers)
        self._scores: dict[str, list[float]] = {}
        self.tokens_read = 0
        self._read_s = self._unpaid_read_s = 0.0
        self._load_s = time.perf_counter() - started

    @property
    def tokens_total(self) -> int:
        """Tokens of the documents."""
        return len(self.tokens.token_ids)

    @property
    def plan(self) -> PlanSummary:
        """How the documents are read."""
        return self._plan.summary

    @property
    def budget_bytes(self) -> int:
        """What the process has to stay under."""
        return self._plan.part.budget_bytes

    def read(self) -> None:
        """Reads all parts, once. An interrupt leaves tokens_read at the chunks that were finished.

        Where an allocation fails all the same, the part is read again in smaller chunks. Raises DoesNotFitError where
        that is no help."""
        if not self._scores:
            self._judge(self._questions)

    def ask(self, question: str, sampling: Sampling, on_text: Callable[[str], None]) -> Answer:
        """Answers one question over the spans that bear on it most; on_text hears the answer as it is made. An
        interrupt while answering ends the answer. Raises UsageError for a question longer than those known."""
        self.read()
        asked = time.perf_counter()
        if question not in self._scores:
            self._check_length(question)
            self._judge([question])
        chosen = self._chosen(self._scores[question])
        documents = excerpt(self.documents, chosen)
        release_unused()
        again = Reading(
            documents,
            again_settings(self._settings),
            max_new_tokens=self._max_new_tokens,
            questions=[question],
            observer=self._observe_again,
            on_note=self._on_note,
            host=self._host,
        )
        again.read()
        waited_s = time.perf_counter() - asked
        answer = again.ask(question, sampling, on_text)
        return self._of_all(answer, chosen, again.tokens_total, waited_s)

    def _judge(self, questions: Sequence[str]) -> None:
        """Scores every span by each of these questions."""
        started = time.perf_counter()
        self.tokens_read = 0
        self._report(started, 0)
        probes = [self._prompt.plain_ids(text) for text in (attention.NULL_QUESTION, *questions)]
        paid: list[list[float]] = [[] for _ in questions]
        for part in self._parts:
            null_mass, *masses = self._read_part(part, probes, started)
            for scores, mass in zip(paid, masses, strict=True):
                scores += attention.score(part, mass, null_mass)
        texts = [span.text for span in self._spans]
        for question, scores in zip(questions, paid, strict=True):
            self._scores[question] = fuse(scores, lexical.score(question, texts))
        seconds = time.perf_counter() - started
        self._read_s += seconds
        self._unpaid_read_s += seconds

    def _read_part(self, part: list[Span], probes: list[list[int]], started: float) -> list[torch.Tensor]:
        """What each probe attends to in a part, in chunks as small as memory asks for."""
        first, stop = part[0].start, part[-1].stop
        reader = PartReader(
            self._host.load(self._settings.weights, self._part_plan.rung.offloaded_layers),
            self._heads,
            self._prompt.head_ids(),
            self._prompt.between_ids(),
            self._part_plan.room.capacity_tokens,
        )

        def on_chunk(done: int, kv_bytes: int) -> None:
            self.tokens_read = first + done
            self._report(started, kv_bytes)

        while True:
            try:
                token_ids = self.tokens.token_ids[first:stop]
                return reader.attention(token_ids, probes, self._part_plan.rung.chunk_tokens, on_chunk)
            except AllocationFailed:
                self.tokens_read = first
            self._step_down()

    def _step_down(self) -> None:
        """To smaller chunks. Raises DoesNotFitError where they are as small as they get."""
        plan = self._part_plan.step_down(0, moving=False)
        if plan is None:
            raise DoesNotFitError(
                f"an allocation failed after {self.tokens_read:,} tokens and no way is left that takes less than "
                f"{self._part_plan.summary.rung} of {self._plan.tokens:,}; free memory, or a smaller --model"
            )
        self._part_plan = plan
        self._on_note(plan.steps[-1])
        release_unused()

    def _chosen(self, scores: Sequence[float]) -> list[Span]:
        """What is read again: the best spans, as many as have room with what stands between them."""
        chosen = choose(self._spans, scores, self._plan.excerpt_tokens)
        while len(chosen) > 1:
            tokens = tokenize(self._prompt.tokenizer, excerpt(self.documents, chosen))
            if len(tokens.token_ids) <= self._plan.excerpt_tokens:
                break
            chosen.pop()
        return chosen

    def _check_length(self, question: str) -> None:
        tokens = len(self._prompt.head_ids()) + len(self._prompt.question_ids(question, first=True))
        if tokens > self._prompt_tokens:
            raise UsageError(
                f"the question has {tokens - self._prompt_tokens:,} tokens more than the longest that was known; ask "
                f"more briefly"
            )

    def _of_all(self, answer: Answer, chosen: list[Span], again_tokens: int, waited_s: float) -> Answer:
        """The answer over the excerpt, as one over the documents."""
        receipt = parts_receipt(
            answer.receipt, self.documents, self.tokens, chosen, len(self._parts), self._part_plan.steps
        )
        num_read, read_s = self.tokens_total + again_tokens, self._read_s + answer.timing.prefill_s
        timing = replace(
            answer.timing,
            load_s=self._load_s,
            prefill_s=read_s,
            prefill_tokens_per_s=num_read / read_s,
            ttft_s=self._unpaid_read_s + waited_s + answer.timing.ttft_s,
        )
        self._unpaid_read_s = 0.0
        memory = replace(answer.memory, predicted_peak_bytes=self._plan.peak_bytes)
        return replace(answer, receipt=receipt, plan=self.plan, memory=memory, timing=timing)

    def _observe_again(self, progress: Progress) -> None:
        self._observer(replace(progress, phase="reread") if progress.phase == "read" else progress)

    def _report(self, started: float, kv_bytes: int) -> None:
        elapsed = time.perf_counter() - started
        rate = self.tokens_read / elapsed if elapsed else 0.0
        done, total = self.tokens_read, self.tokens_total
        memory_bytes = self._host.meter.now_bytes()
        self._observer(Progress("read", done, total, rate, kv_bytes, memory_bytes, self.budget_bytes))
