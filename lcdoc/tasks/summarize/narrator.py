"""Has the model read a text and write what is asked of it, and counts what that takes."""

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document
from lcdoc.engine.memory import release_unused
from lcdoc.store.chain import Chain
from lcdoc.store.store import Store
from lcdoc.tasks.answer import Answer, MemoryUse, ModelInfo, PlanSummary, Timing
from lcdoc.tasks.answering import Answering, together
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.host import Host
from lcdoc.tasks.progress import Observer, Progress
from lcdoc.tasks.room import context_window
from lcdoc.tasks.summarize.draft import Draft, has_enough
from lcdoc.tokens import Prompt


@dataclass(frozen=True)
class Order:
    """A text to be written about documents. words: enough of it, at the next end of a sentence. max_tokens: the most of
    it."""

    documents: Sequence[Document]
    request: str
    words: int
    max_tokens: int
    observer: Observer


class Narrator:
    """answers: all that the model wrote, in order."""

    def __init__(
        self,
        host: Host,
        settings: ReadSettings,
        on_note: Callable[[str], None],
        store: Store | None = None,
    ) -> None:
        """settings: for one text. store: what is read is kept there, until `forget_read`."""
        self._store, self._chains = store, list[Chain]()
        self._host, self._settings, self._on_note = host, settings, on_note
        self.answers: list[Answer] = []
        self._kv_bytes = 0  # the most that texts written at the same time held

    def prompt_tokens(self, requests: Sequence[str]) -> int:
        """What stands around a text, with the longest request."""
        prompts = (Prompt.for_request(self._host.tokenizer, request) for request in requests)
        return max(len(prompt.head_ids()) + len(prompt.question_ids("", first=True)) for prompt in prompts)

    def count(self, text: str) -> int:
        """Its tokens."""
        return len(self._host.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)

    def write(self, order: Order) -> Draft:
        """One text, as `write_all` does."""
        [(_, draft)] = self.write_all([order], 1)
        return draft

    def write_all(
        self, orders: Sequence[Order], rows: int, chunk_tokens: int | None = None
    ) -> Iterator[tuple[int, Draft]]:
        """The number of each order with its text as soon as that is written, of documents that are read from the start,
        exactly. rows: so many are written at the same time. chunk_tokens: the most to read at once, where that is not
        left to each text. Raises KeyboardInterrupt where it was interrupted."""
        settings = self._settings
        if chunk_tokens is not None:
            settings = replace(settings, chunk_tokens=chunk_tokens)
        begun: dict[int, tuple[weakref.ref[Reading], Chain | None]] = {}
        held_bytes: dict[int, int] = {}

        def begin(number: int, order: Order) -> Answering:
            def observe(progress: Progress) -> None:
                held_bytes[number] = progress.kv_bytes
                self._kv_bytes = max(self._kv_bytes, sum(held_bytes.values()))
                order.observer(replace(progress, kv_bytes=sum(held_bytes.values())))

            reading = Reading(
                order.documents,
                settings,
                max_new_tokens=order.max_tokens,
                questions=[""],
                observer=observe,
                on_note=self._on_note,
                host=self._host,
                prompt=Prompt.for_request(self._host.tokenizer, order.request),
                store=self._store,
            )
            begun[number] = weakref.ref(reading), reading.chain
            return reading.answering(
                "",
                Sampling(max_new_tokens=order.max_tokens),
                lambda text: None,
                until=lambda text: has_enough(text, order.words, order.request),
            )

        openers = [partial(begin, number, order) for number, order in enumerate(orders)]
        for number, answer in together(openers, rows, self._on_note):
            if answer.finish_reason == "interrupted":
                raise KeyboardInterrupt
            self.answers.append(answer)
            if answer.receipt.tokens_from_store:
                self._on_note(f"{answer.receipt.tokens_from_store:,} tokens came from the store")
            kept, chain = begun.pop(number)
            del held_bytes[number]
            if chain is not None:
                self._chains.append(chain)
            if kept() is not None:  # by a cycle, with its cache; collecting costs too much to do it always
                release_unused()
            request = orders[number].request
            yield number, Draft.of(answer.answer, cut=not answer.complete, request=request)

    def forget_read(self) -> None:
        """Takes out of the store what was put there for what is written: nobody will read these texts again."""
        while self._chains:
            self._chains.pop().forget()

    def timing(self, seconds: float) -> Timing:
        """seconds: until all was written."""
        timings = [answer.timing for answer in self.answers]
        prefill_s = sum(timing.prefill_s for timing in timings)
        decode_s = sum(timing.decode_s for timing in timings)
        read = sum(timing.prefill_s * timing.prefill_tokens_per_s for timing in timings)
        written = sum(timing.decode_s * timing.decode_tokens_per_s for timing in timings)
        return Timing(
            load_s=timings[0].load_s if timings else 0.0,
            prefill_s=prefill_s,
            prefill_tokens_per_s=read / prefill_s if prefill_s else 0.0,
            ttft_s=seconds,
            decode_s=decode_s,
            decode_tokens_per_s=written / decode_s if decode_s else 0.0,
        )

    def memory(self, plan: PlanSummary) -> MemoryUse:
        """At its worst."""
        uses = [answer.memory for answer in self.answers]
        return MemoryUse(
            device=self._host.device.type,
            budget_bytes=self._host.budget_bytes,
            predicted_peak_bytes=plan.predicted_peak_bytes,
            peak_bytes=self._host.meter.peak_bytes(),
            weights_bytes=max((use.weights_bytes for use in uses), default=0),
            kv_bytes=self._kv_bytes,
        )

    def model(self) -> ModelInfo:
        return ModelInfo(self._host.files.name, self._host.dtype_name, context_window(self._host.config))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was to be told of any reading, once."""
        told = [note for answer in self.answers for note in answer.receipt.notes]
        return tuple(dict.fromkeys(told))
