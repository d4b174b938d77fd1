"""Has the model read a text and write what is asked of it, and counts what that takes."""

import weakref
from collections.abc import Callable, Sequence

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document
from lcdoc.engine.memory import release_unused
from lcdoc.store.chain import Chain
from lcdoc.store.store import Store
from lcdoc.tasks.answer import Answer, MemoryUse, ModelInfo, Timing
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.host import Host
from lcdoc.tasks.plan import Plan
from lcdoc.tasks.progress import Observer
from lcdoc.tasks.room import context_window
from lcdoc.tasks.summarize.draft import Draft, has_enough
from lcdoc.tokens import Prompt


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

    def prompt_tokens(self, requests: Sequence[str]) -> int:
        """What stands around a text, with the longest request."""
        prompts = (Prompt.for_request(self._host.tokenizer, request) for request in requests)
        return max(len(prompt.head_ids()) + len(prompt.question_ids("", first=True)) for prompt in prompts)

    def count(self, text: str) -> int:
        """Its tokens."""
        return len(self._host.tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids)

    def write(
        self, documents: Sequence[Document], request: str, words: int, max_tokens: int, observer: Observer
    ) -> Draft:
        """One text about documents that are read from the start, exactly. words: enough of it, at the next end of a
        sentence. Raises KeyboardInterrupt where it was interrupted."""
        reading = Reading(
            documents,
            self._settings,
            max_new_tokens=max_tokens,
            questions=[""],
            observer=observer,
            on_note=self._on_note,
            host=self._host,
            prompt=Prompt.for_request(self._host.tokenizer, request),
            store=self._store,
        )
        if reading.chain is not None:
            self._chains.append(reading.chain)
        answer = reading.ask(
            "",
            Sampling(max_new_tokens=max_tokens),
            lambda text: None,
            until=lambda text: has_enough(text, words, request),
        )
        if answer.finish_reason == "interrupted":
            raise KeyboardInterrupt
        self.answers.append(answer)
        if answer.receipt.tokens_from_store:
            self._on_note(f"{answer.receipt.tokens_from_store:,} tokens came from the store")
        kept = weakref.ref(reading)
        del reading
        if kept() is not None:  # by a cycle, with its cache; collecting costs too much to do it for nothing
            release_unused()
        return Draft.of(answer.answer, cut=not answer.complete, request=request)

    def forget_read(self) -> None:
        """Takes out of the store what was put there: nobody will read these texts again."""
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

    def memory(self, plan: Plan) -> MemoryUse:
        """At its worst. plan: of the longest text."""
        uses = [answer.memory for answer in self.answers]
        return MemoryUse(
            device=self._host.device.type,
            budget_bytes=self._host.budget_bytes,
            predicted_peak_bytes=plan.rung.peak_bytes,
            peak_bytes=self._host.meter.peak_bytes(),
            weights_bytes=max((use.weights_bytes for use in uses), default=0),
            kv_bytes=max((use.kv_bytes for use in uses), default=0),
        )

    def model(self) -> ModelInfo:
        return ModelInfo(self._host.files.name, self._host.dtype_name, context_window(self._host.config))

    @property
    def notes(self) -> tuple[str, ...]:
        """What was to be told of any reading, once."""
        told = [note for answer in self.answers for note in answer.receipt.notes]
        return tuple(dict.fromkeys(told))
