"""Asking of a document that is longer than the model can read at once: it is read in parts, what bears on a question is
found in all of them, and this is read again together for the answer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

from lcdoc.citations.checker import Checker
from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document
from lcdoc.engine.memory import release_unused
from lcdoc.errors import DocumentError, UsageError
from lcdoc.fusion.excerpt import choose, excerpt, excerpt_tokens
from lcdoc.fusion.heads import NUM_JUDGES, choose_heads
from lcdoc.fusion.joint_tokens import JointTokens
from lcdoc.fusion.ranking import Judgement
from lcdoc.fusion.rivals import rivals, with_neighbours
from lcdoc.fusion.spans import Span
from lcdoc.store.store import Store
from lcdoc.tasks.answer import Answer, PlanSummary
from lcdoc.tasks.apart import APART_TOKENS, Extract, ask_apart, find_conflict
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.host import Host
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.parts_plan import again_settings, plan_parts
from lcdoc.tasks.parts_receipt import parts_receipt
from lcdoc.tasks.parts_sweep import PartsSweep
from lcdoc.tasks.plan import profile_for
from lcdoc.tasks.progress import Observer, Progress, silent
from lcdoc.tasks.room import Need
from lcdoc.tokens import Prompt, TokenizedDocument, tokenize


class PartsReading:
    """As Reading, for documents that are read in parts.

    Making it loads the model; `read` reads all parts, one at a time, with every known question; `ask` may then be
    called any number of times. For a question that was not known all parts are read once more, or come from the store.
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
        store: Store | None = None,
    ) -> None:
        """Arguments and errors as those of Reading; with no questions room is kept for those of a chat."""
        started = time.perf_counter()
        self.documents, self._settings = tuple(documents), settings
        self._observer, self._on_note = observer, on_note
        self._checker = Checker(documents)
        self._questions, self._max_new_tokens = tuple(questions), max_new_tokens
        self._host = host = host or Host(settings)
        self._prompt = Prompt.from_tokenizer(host.tokenizer)
        self.tokens = tokens or tokenize(host.tokenizer, documents)
        if not self.tokens.token_ids:
            raise DocumentError("the document holds no text that the model can read")
        need = Need.of(self._prompt, self.tokens, questions, max_new_tokens)
        self._prompt_tokens = need.prompt_tokens
        shape = host.shape(settings.weights)
        self._plan = plan_parts(host.plan, host.config, settings, need, shape, self.tokens)
        profile = profile_for(with_own_profile(settings, host.files), shape)
        self._sweep = PartsSweep(
            host,
            settings.weights,
            self._plan,
            choose_heads(profile, shape.num_kv_heads, shape.windows, NUM_JUDGES),
            self._prompt,
            self.tokens,
            observer=observer,
            on_note=on_note,
            store=store,
        )
        self._joins = self._plan.kept_tokens > 0
        self._swept: dict[str, Judgement] = {}  # by attention and words
        self._judgements: dict[str, Judgement] = {}
        self._conflicts: dict[str, tuple[Extract, ...]] = {}
        self._paid_s = 0.0  # of the sweeps, what answers have accounted for
        self._load_s = time.perf_counter() - started

    @property
    def tokens_total(self) -> int:
        """Tokens of the documents."""
        return len(self.tokens.token_ids)

    @property
    def tokens_read(self) -> int:
        """Tokens of the parts that were read."""
        return self._sweep.tokens_read

    @property
    def tokens_from_store(self) -> int:
        """Tokens of the parts that an earlier reading had stored."""
        return self._sweep.tokens_from_store

    @property
    def tokens_stored(self) -> int:
        """Tokens of the parts, from the first one on, that are in the store."""
        return self._sweep.tokens_stored

    @property
    def not_stored(self) -> str | None:
        """Why the store is not used."""
        return self._sweep.not_stored

    @property
    def plan(self) -> PlanSummary:
        """How the documents are read."""
        return self._plan.summary

    @property
    def budget_bytes(self) -> int:
        """What the process has to stay under."""
        return self._plan.part.budget_bytes

    @property
    def spans(self) -> Sequence[Span]:
        """The passages of the documents that are judged."""
        return self._sweep.spans

    @property
    def sweep_s(self) -> float:
        """What reading the parts and judging the passages took."""
        return self._sweep.seconds

    def judge(self, question: str) -> Judgement:
        """What is thought of each passage. Reads all parts where that was not done with this question. Raises
        UsageError for one that is longer than those known."""
        if question in self._questions:
            self.read()
        if question not in self._swept or (self._joins and self._sweep.kept(question) is None):
            self._check_length(question)
            self._sweep_for([question])
        if question not in self._judgements:
            self._judgements[question] = self._sweep.weigh(question, self._swept[question])
        return self._judgements[question]

    def read(self) -> None:
        """Reads all parts, once; where no question is known, only to store them. An interrupt leaves tokens_read at the
        chunks that were finished. Raises DoesNotFitError where memory is refused even to the smallest chunks."""
        if not self._sweep.seconds and (self._questions or self._sweep.stores):
            self._sweep_for(self._questions)

    def passages(self, question: str) -> list[Document]:
        """What is read again for a question: the documents with the spans alone that bear on it most, word for word and
        in order. Reads all parts where that was not done with this question. Raises UsageError for one that is longer
        than those known."""
        return excerpt(self.documents, self._chosen(question))

    def ask(self, question: str, sampling: Sampling, on_text: Callable[[str], None]) -> Answer:
        """Answers one question over the spans that bear on it most; on_text hears the answer as it is made. An
        interrupt while answering ends the answer. Raises UsageError for a question longer than those known."""
        asked, before_s = time.perf_counter(), self._sweep.seconds
        chosen = self._chosen(question)
        asked += self._sweep.seconds - before_s  # counted with the sweeps
        release_unused()
        joint = self._joint(question, chosen)
        again = self._reading_again(chosen, question, self._max_new_tokens, self._observe_again, joint)
        waited_s = time.perf_counter() - asked
        answer = again.ask(question, sampling, on_text)
        return self._of_all(answer, chosen, again.tokens_total, waited_s, joint)

    def _sweep_for(self, questions: Sequence[str]) -> None:
        self._swept |= self._sweep.judge(questions)

    def _chosen(self, question: str) -> list[Span]:
        """What is read again: the best spans, as many as have room with what stands between them."""
        spans, scores = self._sweep.spans, self.judge(question).scores
        if question not in self._conflicts:
            self._conflicts[question] = self._conflict(question)
        first = with_neighbours(spans, [extract.span for extract in self._conflicts[question]])
        if self._joins:
            return self._chosen_of_kept(question, first)
        chosen = choose(spans, scores, self._plan.excerpt_tokens, first)
        while len(chosen) > 1:
            tokens = tokenize(self._prompt.tokenizer, excerpt(self.documents, chosen))
            if len(tokens.token_ids) <= self._plan.excerpt_tokens:
                break
            chosen.pop()
        return chosen

    def _chosen_of_kept(self, question: str, first: Sequence[Span]) -> list[Span]:
        """As _chosen, of those spans alone whose keys and values are kept."""
        kept = self._sweep.kept(question)
        assert kept is not None
        judged = list(zip(self._sweep.spans, self._judgements[question].scores, strict=True))
        spans = [span for span, _ in judged if span in kept]
        scores = [score for span, score in judged if span in kept]
        return choose(spans, scores, self._plan.excerpt_tokens, [span for span in first if span in kept])

    def _conflict(self, question: str) -> tuple[Extract, ...]:
        """What the best spans answer, each alone, where that differs. Most questions have one best span, and cost
        nothing here."""
        near = rivals(self._sweep.spans, self._judgements[question])
        if not near:
            return ()

        def open_reading(span: Span) -> Reading:
            joint = self._joint(question, [span])
            return self._reading_again([span], question, APART_TOKENS, silent, joint)

        return find_conflict(question, ask_apart(question, near, open_reading))

    def _joint(self, question: str, spans: Sequence[Span]) -> JointTokens | None:
        """What the spans have left in their parts, where that is kept for the question."""
        kept = self._sweep.kept(question)
        if kept is None or not all(span in kept for span in spans):
            return None
        return kept.joint(spans)

    def _reading_again(
        self,
        spans: Sequence[Span],
        question: str,
        max_new_tokens: int,
        observer: Observer,
        joint: JointTokens | None,
    ) -> Reading:
        """Of these spans alone, exactly. joint: what they have left in their parts, so that they aren't read."""
        return Reading(
            excerpt(self.documents, spans),
            again_settings(self._settings),
            max_new_tokens=max_new_tokens,
            questions=[question],
            observer=observer,
            on_note=self._on_note,
            host=self._host,
            checker=self._checker,
            tokens=excerpt_tokens(self.tokens, self.documents, spans) if joint else None,
            left=joint,
        )

    def _check_length(self, question: str) -> None:
        tokens = len(self._prompt.head_ids()) + len(self._prompt.question_ids(question, first=True))
        if tokens > self._prompt_tokens:
            raise UsageError(
                f"the question has {tokens - self._prompt_tokens:,} tokens more than the longest that was known; ask "
                f"more briefly"
            )

    def _of_all(
        self,
        answer: Answer,
        chosen: list[Span],
        again_tokens: int,
        waited_s: float,
        joint: JointTokens | None,
    ) -> Answer:
        """The answer over the excerpt, as one over the documents. The first one after a sweep pays for it."""
        parts, steps = self._plan.num_parts, self._sweep.steps
        tokens_reread = None if joint is None else joint.tokens_left
        from_store = self.tokens_from_store
        receipt = parts_receipt(
            answer.receipt,
            self.documents,
            self.tokens,
            chosen,
            parts,
            steps,
            from_store,
            self._conflicts[answer.question],
            tokens_reread,
        )
        read_again = again_tokens if tokens_reread is None else tokens_reread
        read_s = self._sweep.seconds + answer.timing.prefill_s
        unpaid_s, self._paid_s = self._sweep.seconds - self._paid_s, self._sweep.seconds
        timing = replace(
            answer.timing,
            load_s=self._load_s,
            prefill_s=read_s,
            prefill_tokens_per_s=(self._sweep.tokens_swept + read_again) / read_s,
            ttft_s=unpaid_s + waited_s + answer.timing.ttft_s,
        )
        memory = replace(answer.memory, predicted_peak_bytes=self._plan.peak_bytes)
        return replace(
            answer,
            receipt=receipt,
            plan=self.plan,
            memory=memory,
            timing=timing,
        )

    def _observe_again(self, progress: Progress) -> None:
        phase = "join" if self._joins else "reread"
        self._observer(replace(progress, phase=phase) if progress.phase == "read" else progress)
