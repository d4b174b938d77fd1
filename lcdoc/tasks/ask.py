"""Asking: documents are read once by one model, then any number of questions are answered from that reading."""

import time
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import torch

from lcdoc.citations.checker import Checker
from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document
from lcdoc.engine.checkpoint import Checkpoints
from lcdoc.engine.joint_decode import Step
from lcdoc.engine.memory import allocating, release_unused, succeeds
from lcdoc.engine.reader import Mark, Reader
from lcdoc.engine.sampling import Sampler
from lcdoc.errors import DocumentError, DoesNotFitError, UsageError
from lcdoc.models import loaded_bytes, stored_weights
from lcdoc.store.chain import Chain
from lcdoc.store.store import Store
from lcdoc.tasks.answer import Answer, MemoryUse, ModelInfo, PlanSummary, Receipt, Timing
from lcdoc.tasks.answering import Answering, alone, refused
from lcdoc.tasks.attending import Attended, Watched
from lcdoc.tasks.citing import judge
from lcdoc.tasks.host import Host
from lcdoc.tasks.own_profile import citing_heads
from lcdoc.tasks.progress import Observer, Progress, silent
from lcdoc.tasks.receipts import make_receipt, with_instructions
from lcdoc.tasks.repetition import CircleBreaker, goes_in_a_circle
from lcdoc.tasks.room import MIN_ANSWER_TOKENS, Need, context_window
from lcdoc.tasks.storing import open_chain, why_not_stored
from lcdoc.tokens import Prompt, TextStream, TokenizedDocument, tokenize


class Reading:
    """Documents read once by one model.

    Making it loads the model; `read` reads the documents; `ask` may then be called any number of times.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        settings: ReadSettings,
        *,
        max_new_tokens: int = 512,
        questions: Sequence[str] = (),
        observer: Observer = silent,
        on_note: Callable[[str], None] = lambda note: None,
        host: Host | None = None,
        tokens: TokenizedDocument | None = None,
        prompt: Prompt | None = None,
        store: Store | None = None,
        checker: Checker | None = None,
        left: Checkpoints | None = None,
    ) -> None:
        """questions: those known to come; with none, room is kept for a chat. on_note hears, once, of what goes
        otherwise than planned. host: given, the model is that of another reading, which is over. tokens: of the
        documents, where they are known. prompt: what stands around documents and questions. store: what is read is kept
        there, and what is there already is not read again. checker: what answers are held against, where that is more
        than the documents. left: what their tokens have left elsewhere, head and all, so that they aren't read. Raises
        DoesNotFitError before any weights are loaded where the documents are longer than the model's window."""
        started = time.perf_counter()
        self.documents, self._observer, self._on_note = tuple(documents), observer, on_note
        self._checker = checker or Checker(documents)
        self._has_turns = False
        host = host or Host(settings)
        self._prompt = prompt or Prompt.from_tokenizer(host.tokenizer)
        self.tokens = tokens or tokenize(host.tokenizer, documents)
        if not self.tokens.token_ids:
            raise DocumentError("the document holds no text that the model can read")
        self._head_ids = self._prompt.head_ids()
        self._known_questions = [self._question_ids(question) for question in questions]
        need = Need.of(self._prompt, self.tokens, questions, max_new_tokens)
        self._plan = host.plan(settings, need)
        self._meter = host.meter
        self._weights = stored_weights(settings.weights, host.dtype)
        self._model = host.load(settings.weights, self._plan.rung.offloaded_layers)
        self._stop_ids = stop_ids_of(self._model, host.tokenizer)
        rung = self._plan.rung
        self._reader = Reader(
            self._model,
            rung.split,
            capacity_tokens=self._plan.room.capacity_tokens,
            chunk_tokens=rung.chunk_tokens,
            kv_dtype=rung.kv_dtype,
            eviction=rung.eviction,
            extension=self._plan.room.extension,
            sparse=host.sparse_prefill(on_note) if rung.sparse else None,
            selection=host.page_selection(settings.page_selection, on_note) if rung.selects_pages else None,
        )
        self.chain: Chain | None = None  # what keeps the reading
        self.not_stored: str | None = None  # why the store is not used
        if store is not None:
            self.not_stored = why_not_stored(rung, self.tokens_total)
        if store is not None and self.not_stored is None:
            way = rung.split, rung.kv_dtype, self._plan.room
            sources = [document.source for document in documents]
            counted = range(len(self._head_ids), len(self._head_ids) + self.tokens_total)
            self.chain = open_chain(store, host, settings.weights, *way, sources, counted, on_note)
        self._checkpoints: Checkpoints | None = left or self.chain
        heads, threshold = citing_heads(settings, host.files, host.shape(settings.weights), documents)
        self._watched = Watched(self.tokens, len(self._head_ids), heads, threshold)
        self.attended: Attended | None = None  # what the last answer's tokens looked at
        self._info = ModelInfo(host.files.name, host.dtype_name, context_window(host.config))
        self._bare: Mark | None = None  # the document read, nothing asked
        self.tokens_read = 0
        self._read_s = self._unpaid_read_s = 0.0
        self._load_s = time.perf_counter() - started

    @property
    def tokens_total(self) -> int:
        """Tokens of the documents."""
        return len(self.tokens.token_ids)

    @property
    def tokens_from_store(self) -> int:
        """Tokens of the documents that an earlier reading had stored."""
        return self.chain.tokens_loaded if self.chain else 0

    @property
    def tokens_stored(self) -> int:
        """Tokens of the documents, from the first one on, that are in the store."""
        return self.chain.tokens_stored if self.chain else 0

    @property
    def plan(self) -> PlanSummary:
        """How the documents are read, at present."""
        return self._plan.summary

    @property
    def budget_bytes(self) -> int:
        """What the process has to stay under."""
        return self._plan.budget_bytes

    def read(self) -> None:
        """Reads the documents, once. An interrupt leaves tokens_read at the chunks that were finished.

        Where an allocation fails all the same, the plan steps down and the reading goes on from the last whole chunk.
        Raises DoesNotFitError where there is no lesser plan."""
        if self._bare is not None:
            return
        started = time.perf_counter()

        def on_chunk(_: int) -> None:
            self.tokens_read = min(max(0, self._reader.seen_tokens - len(self._head_ids)), self.tokens_total)
            self._report("read", self.tokens_read, self.tokens_total, started)

        def read_on() -> None:
            self._reader.read(
                token_ids[self._reader.seen_tokens :],
                on_chunk,
                questions=self._known_questions,
                repeat_ids=self._prompt.repeat_ids(),
                checkpoints=self._checkpoints,
            )
            self._bare = allocating(self._reader.mark)

        token_ids = self._head_ids + self.tokens.token_ids
        self._report("read", 0, self.tokens_total, started)
        while not succeeds(read_on):
            self._step_down()
        self._read_s = self._unpaid_read_s = time.perf_counter() - started

    def ask(
        self,
        question: str,
        sampling: Sampling,
        on_text: Callable[[str], None],
        *,
        keep_turn: bool = False,
        until: Callable[[str], bool] = lambda text: False,
        pick: Callable[[torch.Tensor], int] | None = None,
    ) -> Answer:
        """Answers one question; on_text hears the answer as it is made, whole characters only.

        keep_turn: later questions see this one and its answer. An interrupt while answering ends the answer with
        finish_reason "interrupted", and its turn is forgotten. An answer that goes in a circle is led out of it, or
        ended as a "repetition", where the sampling says so. until: hears the answer so far, and tells whether that is
        enough of it. pick: chooses each token instead of the sampling. Raises UsageError for a question without room
        in the window.
        """
        answering = self.answering(question, sampling, on_text, keep_turn=keep_turn, until=until, pick=pick)
        return alone(answering)

    def answering(
        self,
        question: str,
        sampling: Sampling,
        on_text: Callable[[str], None],
        *,
        keep_turn: bool = False,
        until: Callable[[str], bool] = lambda text: False,
        pick: Callable[[torch.Tensor], int] | None = None,
    ) -> Answering:
        """As `ask`, for one who has the tokens read, perhaps in one pass with those of other readings."""
        self.read()
        asked = time.perf_counter()
        question_ids = self._question_ids(question)
        max_new_tokens = self._room_for_answer(question_ids, sampling)
        stream, pieces, token_times = TextStream(self._prompt.tokenizer), [], []
        answer_ids: list[int] = []
        ends: list[int] = []  # of each token in the text
        trace = self._watched.trace()
        finish_reason = "stop"
        breaker = CircleBreaker(Sampler(sampling.temperature, sampling.top_p, sampling.seed))
        breaks = sampling.break_circles and pick is None
        sampler = pick or (breaker if breaks else breaker.pick)
        before = self._mark()
        first_position = self._reader.seen_tokens + len(question_ids)
        away_s = 0.0

        def answer_on() -> Generator[Step, float | None, None]:
            nonlocal away_s
            self._reader.prefill(question_ids + answer_ids, trace=trace)
            room = max_new_tokens - len(answer_ids)
            for token_id in self._reader.choose(sampler, self._stop_ids, room):
                answer_ids.append(token_id)
                ends.append(ends[-1] if ends else 0)
                token_times.append(time.perf_counter() - away_s)
                self._report("answer", len(token_times), max_new_tokens, token_times[0] + away_s)
                if piece := stream.push(token_id):
                    pieces.append(piece)
                    ends[-1] += len(piece)
                    on_text(piece)
                    if until("".join(pieces)):
                        return
                if breaks and goes_in_a_circle(answer_ids):
                    return
                away_s += (yield Step(self._reader, token_id, trace)) or 0.0

        try:
            while (yield from refused(answer_on())):
                self._reader.rewind(before)
                self._step_down()
                before = self._mark()
            if breaks and goes_in_a_circle(answer_ids):
                finish_reason = "repetition"
            elif len(token_times) == max_new_tokens:
                finish_reason = "length"
        except KeyboardInterrupt:
            finish_reason = "interrupted"
        whole = "".join(pieces)
        text, before_text = whole.strip(), len(whole) - len(whole.lstrip())
        self.attended = attended = Attended(
            self._watched, trace, first_position, [end - before_text for end in ends]
        )
        receipt = with_instructions(self.receipt(), attended.instructions())
        kv_bytes = self._reader.cache.nbytes
        if keep_turn and finish_reason != "interrupted":
            self._has_turns = True
        else:
            self._reader.rewind(before)
        citations, support = judge(question, text, self._checker, attended)
        timing = self._timing(asked, token_times)
        return Answer(
            question=question,
            answer=text,
            complete=finish_reason == "stop",
            finish_reason=finish_reason,
            circles_broken=breaker.times_broken,
            citations=citations,
            support=support,
            receipt=receipt,
            plan=self.plan,
            memory=self._memory(kv_bytes),
            timing=timing,
            model=self._info,
        )

    def forget_turns(self) -> None:
        """Back to the bare document: what was asked and answered is forgotten."""
        if self._bare is not None:
            self._reader.rewind(self._bare)
        self._has_turns = False

    def receipt(self) -> Receipt:
        """How the documents have been read so far."""
        return make_receipt(
            self.documents,
            self.tokens,
            self._reader.cache,
            mode=self.plan.mode,
            kv_dtype=self.plan.kv_dtype,
            rounded=self._weights != "model" or self._plan.rounded,
            head_tokens=len(self._head_ids),
            tokens_read=self.tokens_read,
            notes=(*self._plan.notes, *self._graph_note()),
            extension=self._plan.room.extension,
            tokens_from_store=self.tokens_from_store,
        )

    def _graph_note(self) -> tuple[str, ...]:
        """On CUDA, why answers are decoded without a captured graph, where they are."""
        why = self._reader.graph.why_usual if self._reader.graph is not None else None
        return (
            (f"answers are written token by token, without a CUDA graph, which is slower: {why}",)
            if why
            else ()
        )

    def _step_down(self) -> None:
        """Takes the reading, at a point where the cache is whole, to a plan that needs less memory.

        Raises DoesNotFitError where there is none, or where a chat's turns would have to be forgotten for it."""
        stepped = False
        while not stepped:
            seen_tokens = self._reader.seen_tokens
            narrowed = self._reader.cache.narrowed
            plan = self._plan.step_down(seen_tokens, moving=not self._has_turns, narrowed=narrowed)
            if plan is None:
                raise DoesNotFitError(
                    f"an allocation failed after {seen_tokens:,} tokens and no way is left that takes less than "
                    f"{self._plan.summary.rung}; free memory, choose pages with --pages, or a smaller --model"
                )
            before, self._plan, rung = self._plan.rung, plan, plan.rung
            if self._checkpoints is not None and rung.form != before.form:
                self._checkpoints.close()
            self._on_note(plan.steps[-1])
            release_unused()
            stepped = succeeds(
                partial(
                    self._reader.step_down,
                    split=rung.split,
                    chunk_tokens=rung.chunk_tokens,
                    kv_dtype=rung.kv_dtype,
                    eviction=rung.eviction,
                )
            )
            release_unused()

    def _mark(self) -> Mark:
        """A point to return to; before the first turn it is the bare document."""
        mark: list[Mark] = []
        while not succeeds(lambda: mark.append(self._reader.mark())):
            self._step_down()
        if not self._has_turns:
            self._bare = mark[0]
        return mark[0]

    def _question_ids(self, question: str) -> list[int]:
        return self._prompt.question_ids(question, first=not self._has_turns)

    def _room_for_answer(self, question_ids: list[int], sampling: Sampling) -> int:
        capacity = self.plan.capacity_tokens
        room = capacity - self._reader.seen_tokens - len(question_ids)
        if room < min(MIN_ANSWER_TOKENS, sampling.max_new_tokens):
            advice = "forget the earlier turns" if self._has_turns else "ask more briefly"
            raise UsageError(
                f"the question has {len(question_ids):,} tokens and leaves {max(room, 0):,} of "
                f"{capacity:,} for its answer; {advice}"
            )
        return min(room, sampling.max_new_tokens)

    def _timing(self, asked: float, token_times: list[float]) -> Timing:
        """The first question after a reading pays for it."""
        waited = (token_times[0] if token_times else time.perf_counter()) - asked
        ttft_s, self._unpaid_read_s = waited + self._unpaid_read_s, 0.0
        decode_s = token_times[-1] - token_times[0] if token_times else 0.0
        num_read = len(self._head_ids) + self.tokens_read - self.tokens_from_store
        return Timing(
            load_s=self._load_s,
            prefill_s=self._read_s,
            prefill_tokens_per_s=num_read / self._read_s if self._read_s else 0.0,
            ttft_s=ttft_s,
            decode_s=decode_s,
            decode_tokens_per_s=(len(token_times) - 1) / decode_s if decode_s else 0.0,
        )

    def _memory(self, kv_bytes: int) -> MemoryUse:
        return MemoryUse(
            device=self._model.device.type,
            budget_bytes=self._plan.budget_bytes,
            predicted_peak_bytes=self._plan.rung.peak_bytes,
            peak_bytes=self._meter.peak_bytes(),
            weights_bytes=loaded_bytes(self._model) - self._plan.rung.offloaded_bytes,
            kv_bytes=kv_bytes,
        )

    def _report(self, phase: str, done: int, total: int, started: float) -> None:
        elapsed = time.perf_counter() - started
        # The first token of an answer starts the clock: it belongs to the reading of the question.
        timed = done - 1 if phase == "answer" else done - self.tokens_from_store
        rate = timed / elapsed if elapsed and timed else 0.0
        kv_bytes = self._reader.cache.nbytes
        memory_bytes, budget_bytes = self._meter.now_bytes(), self._plan.budget_bytes
        self._observer(
            Progress(phase, done, total, rate, kv_bytes, memory_bytes, budget_bytes, self.tokens_stored)
        )


def stop_ids_of(model: Any, tokenizer: Any) -> frozenset[int]:
    """The tokens that end an answer: those the model's files name, and the tokenizer's own."""
    named = model.generation_config.eos_token_id
    ids = named if isinstance(named, list) else [named]
    return frozenset(token_id for token_id in (*ids, tokenizer.eos_token_id) if token_id is not None)
