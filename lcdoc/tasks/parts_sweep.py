"""Reading all parts of a document, one after the other, to see which of its spans bear on a question."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import accumulate, chain

from lcdoc.engine.extension import extend_positions
from lcdoc.engine.memory import AllocationFailed, release_unused
from lcdoc.engine.rope import Rotation
from lcdoc.errors import DoesNotFitError
from lcdoc.fusion import attention
from lcdoc.fusion.kept_spans import KeptSpans
from lcdoc.fusion.lexical import WordIndex
from lcdoc.fusion.likelihood import LikelihoodReader, num_candidates
from lcdoc.fusion.part_reader import PartReader, ReadPart
from lcdoc.fusion.ranking import Judgement
from lcdoc.fusion.spans import Span
from lcdoc.store.chain import Chain
from lcdoc.store.store import Store
from lcdoc.tasks.host import Host
from lcdoc.tasks.parts_plan import PartsPlan, cut
from lcdoc.tasks.progress import Observer, Progress
from lcdoc.tasks.storing import open_chain, why_not_stored
from lcdoc.tokens import Prompt, TokenizedDocument


class PartsSweep:
    """tokens_read: by the present or the last sweep. tokens_swept, seconds: of all sweeps. steps: what was told of
    steps down to less memory."""

    def __init__(
        self,
        host: Host,
        weights: str,
        plan: PartsPlan,
        heads: frozenset[tuple[int, int]],
        prompt: Prompt,
        tokens: TokenizedDocument,
        *,
        observer: Observer,
        on_note: Callable[[str], None],
        store: Store | None = None,
    ) -> None:
        """weights: how they are stored. heads: those whose attention tells. store: each part is kept there by itself,
        and those that are there already are not read again."""
        self._host, self._weights, self._tokens_of_part, self._plan = host, weights, plan.tokens, plan.part
        self._heads, self._prompt, self._tokens = heads, prompt, tokens
        self._observer, self._on_note = observer, on_note
        self._parts = cut(plan, tokens)
        self.spans = list(chain.from_iterable(self._parts))
        self._num_candidates = num_candidates(len(self.spans)) if plan.likelihood_bytes else 0
        self._words = WordIndex([span.text for span in self.spans])
        self.tokens_read = self.tokens_swept = 0
        self.tokens_from_store = self.tokens_stored = 0  # of those read
        self.not_stored = why_not_stored(plan.part.rung, len(tokens.token_ids)) if store else None
        self._store = store if self.not_stored is None else None
        self.seconds = 0.0
        self._kept_tokens = plan.kept_tokens
        self._kept: dict[str, KeptSpans] = {}  # by question
        model = host.load(weights, self._plan.rung.offloaded_layers)
        self._rotation: Rotation | None = None  # where something is kept
        if plan.kept_tokens:
            extend_positions(model, None, self._plan.room.capacity_tokens)
            self._rotation = Rotation.of(model)

    @property
    def stores(self) -> bool:
        """Whether the parts are kept."""
        return self._store is not None

    @property
    def steps(self) -> tuple[str, ...]:
        return self._plan.steps

    def kept(self, question: str) -> KeptSpans | None:
        """What is kept for a question; None where it isn't one of those that the last sweep was for."""
        return self._kept.get(question)

    def judge(self, questions: Sequence[str]) -> dict[str, Judgement]:
        """For each question what attention and words make of each span; what is kept is kept for these alone. Where an
        allocation fails all the same, the part is read again in smaller chunks. Raises DoesNotFitError where that is no
        help."""
        started = time.perf_counter()
        self.tokens_read = self.tokens_from_store = self.tokens_stored = 0
        self._report_read(started, 0)
        judgements = {question: Judgement([], self._words.scores(question)) for question in questions}
        self._kept = {}  # before others take its memory
        kept = {
            question: KeptSpans(self.spans, judged.words, self._kept_tokens, self._rotation)
            for question, judged in judgements.items()
            if self._rotation is not None
        }
        for part in self._parts:
            judgements = self._read(part, judgements, kept, started)
        self._kept = kept
        self.tokens_swept += self.tokens_read - self.tokens_from_store
        self.seconds += time.perf_counter() - started
        return judgements

    def weigh(self, question: str, judgement: Judgement) -> Judgement:
        """Reads the best spans of a judgement once more, each by itself, or takes what is kept of them, and judges them
        by how likely they make the question, too. Raises DoesNotFitError where memory is refused even to the smallest
        chunks."""
        started, probe = time.perf_counter(), self._prompt.plain_ids(question)
        ranked = sorted(range(len(self.spans)), key=judgement.scores.__getitem__, reverse=True)
        kept = self._kept.get(question)
        if kept is not None:
            ranked = [idx for idx in ranked if self.spans[idx] in kept]
        chosen = [idx for idx in ranked[: self._num_candidates] if judgement.scores[idx] > 0]
        if not chosen or not probe:
            return judgement
        likelihood = [0.0] * len(self.spans)
        for idx, score in zip(chosen, self._likelihood(probe, chosen, kept, started), strict=True):
            likelihood[idx] = score
        self.seconds += time.perf_counter() - started
        return replace(judgement, likelihood=likelihood)

    def _likelihood(
        self, probe: list[int], chosen: Sequence[int], kept: KeptSpans | None, started: float
    ) -> list[float]:
        best = [self.spans[idx] for idx in chosen]
        spans = [self._tokens.token_ids[span.start : span.stop] for span in best]
        done = list(accumulate(map(len, spans)))

        def on_span(num_spans: int, kv_bytes: int) -> None:
            now = done[num_spans - 1]
            self._report("judge", now, done[-1], now, started, kv_bytes)

        while True:
            model = self._host.load(self._weights, self._plan.rung.offloaded_layers)
            reader = LikelihoodReader(model, self._prompt.head_ids(), self._prompt.between_ids())
            left = [kept.joint([span]) for span in best] if kept is not None else None
            try:
                scores = reader.scores(spans, probe, self._plan.rung.chunk_tokens, on_span, left)
            except AllocationFailed:
                pass
            else:
                self.tokens_swept += done[-1] if left is None else 0
                return scores
            self._step_down()

    def _read(
        self,
        part: list[Span],
        before_it: dict[str, Judgement],
        kept: dict[str, KeptSpans],
        started: float,
    ) -> dict[str, Judgement]:
        """The judgements with what each question attends to in a part; what is kept follows."""
        first, stop = part[0].start, part[-1].stop
        head_ids, chain = self._prompt.head_ids(), self._chain(part)
        before = self.tokens_from_store, self.tokens_stored
        reader = PartReader(
            self._host.load(self._weights, self._plan.rung.offloaded_layers),
            self._heads,
            head_ids,
            self._prompt.between_ids(),
            self._plan.room.capacity_tokens,
        )

        def on_chunk(done: int, kv_bytes: int) -> None:
            self.tokens_read = first + done
            if chain is not None:
                self.tokens_from_store = before[0] + chain.tokens_loaded
                self.tokens_stored = before[1] + (chain.tokens_stored if before[1] == first else 0)
            self._report_read(started, kv_bytes)

        while True:
            try:
                chunk_tokens = self._plan.rung.chunk_tokens
                part_ids = self._tokens.token_ids[first:stop]
                return self._judged(
                    part, reader.read(part_ids, chunk_tokens, on_chunk, chain), before_it, kept
                )
            except AllocationFailed:
                self.tokens_read = first
                self.tokens_from_store, self.tokens_stored = before
            self._step_down()
            chain = self._chain(part)

    def _judged(
        self, part: list[Span], read: ReadPart, before_it: dict[str, Judgement], kept: dict[str, KeptSpans]
    ) -> dict[str, Judgement]:
        null_mass = read.attention(self._prompt.plain_ids(attention.NULL_QUESTION))
        judgements = {}
        for question, judged in before_it.items():
            mass = read.attention(self._prompt.plain_ids(question))
            paid = attention.score(part, mass, null_mass)
            judgements[question] = replace(judged, attention=[*judged.attention, *paid])
        for question, own in kept.items():
            own.update(judgements[question].attention, read, part[0].start)
        return judgements

    def _chain(self, part: list[Span]) -> Chain | None:
        """What keeps the part, and whatever stands around it."""
        if self._store is None:
            return None
        rung, head = self._plan.rung, len(self._prompt.head_ids())
        way = rung.split, rung.kv_dtype, self._plan.room
        documents = list(dict.fromkeys(span.page.document.source for span in part))
        counted = range(head, head + part[-1].stop - part[0].start)
        return open_chain(self._store, self._host, self._weights, *way, documents, counted, self._on_note)

    def _step_down(self) -> None:
        plan = self._plan.step_down(0, moving=False)
        if plan is None:
            raise DoesNotFitError(
                f"an allocation failed after {self.tokens_read:,} tokens and no way is left that takes less than parts "
                f"of {self._tokens_of_part:,} tokens in chunks of {self._plan.rung.chunk_tokens}; free memory, or take "
                f"a smaller --model"
            )
        self._plan = plan
        self._on_note(plan.steps[-1])
        release_unused()

    def _report_read(self, started: float, kv_bytes: int) -> None:
        fresh = self.tokens_read - self.tokens_from_store
        self._report("read", self.tokens_read, len(self._tokens.token_ids), fresh, started, kv_bytes)

    def _report(self, phase: str, done: int, total: int, fresh: int, started: float, kv_bytes: int) -> None:
        """fresh: of the tokens done, those that took time."""
        elapsed = time.perf_counter() - started
        rate = fresh / elapsed if elapsed else 0.0
        memory_bytes, budget_bytes = self._host.meter.now_bytes(), self._plan.budget_bytes
        self._observer(
            Progress(phase, done, total, rate, kv_bytes, memory_bytes, budget_bytes, self.tokens_stored)
        )
