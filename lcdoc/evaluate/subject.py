"""The model that is measured, and the one way in which every suite reads with it."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.documents.document import Document
from lcdoc.engine.extension import Extension
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import load_profile
from lcdoc.engine.sampling import Sampler
from lcdoc.errors import UsageError
from lcdoc.evaluate.modes import (
    STOCK,
    AnyReader,
    first_rung,
    open_reader,
    settings_for,
    stock_attention,
    switch,
)
from lcdoc.evaluate.reply import Reply
from lcdoc.evaluate.report import new_report
from lcdoc.evaluate.whole import NEEDLE_MODES, whole_replies
from lcdoc.models.support import supported_class
from lcdoc.tasks.ask import stop_ids_of
from lcdoc.tasks.extending import NONE, choose_extension
from lcdoc.tasks.host import Host
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.progress import Observer, Progress, silent
from lcdoc.tasks.repetition import CircleBreaker
from lcdoc.tasks.room import MIN_ANSWER_TOKENS, Need, context_window, fit_window
from lcdoc.tokens import Prompt


@dataclass(frozen=True)
class Sheet:
    """A document, and what is asked of it, as token ids.

    document_ids: all that is read before a question. questions: each up to its answer, with nothing of the others.
    capacity_tokens: what a reader must have room for. document, asked: the same as text, for modes that read in ways
    of their own. sought: the sentences that answer, where they are known.
    """

    document_ids: Sequence[int]
    questions: tuple[Sequence[int], ...]
    capacity_tokens: int
    document: Document | None = None
    asked: tuple[str, ...] = ()
    sought: tuple[str, ...] = ()


class Subject:
    """A model and its tokenizer. Making it loads no weights; `load` does."""

    def __init__(self, settings: ReadSettings, modes: Sequence[str]) -> None:
        """modes: in which it will read. Raises UsageError where the settings do not go with one of them."""
        self._host = host = Host(settings)
        self._settings, self._modes = with_own_profile(settings, host.files), tuple(modes)
        self.tokenizer, self.config = host.tokenizer, host.config
        self._shape = ModelShape.from_config(self.config, 0, host.dtype)
        for mode in modes:
            if mode != STOCK and mode not in NEEDLE_MODES:
                first_rung(self._shape, mode, self._settings, context_window(self.config))
        self.prompt = Prompt.from_tokenizer(self.tokenizer)
        self._model: Any = None

    @property
    def host(self) -> Host:
        """For readings as `lcdoc ask` makes them."""
        return self._host

    @property
    def settings(self) -> ReadSettings:
        """With the model's own profile, where it has one."""
        return self._settings

    @property
    def model(self) -> Any:
        """The weights on their device, once they are loaded."""
        return self._model

    def load(self) -> None:
        """Loads the weights, if they are not there."""
        if self._model is None:
            self._model = self._host.load(self._settings.weights, offloaded_layers=0)

    def head(self, suite: str, **settings: Any) -> dict[str, Any]:
        """How a suite's report begins. settings: the suite's own, told before those of the reading."""
        own = self._settings
        model_class = supported_class(self.config, self._host.files.name)
        return new_report(suite, self._host.files.name, own.device, own.dtype) | {
            "settings": {
                **settings,
                "weights": own.weights,
                "chunk_tokens": own.chunk_tokens,
                "sink_size": own.sink_size,
                "recent_size": own.recent_size,
                "profile": Path(own.profile).stem if own.profile else None,
                "profile_sha256": load_profile(own.profile).sha256 if own.profile else None,
                "streaming": own.streaming,
                "extend": own.extend,
                "stock_attention": stock_attention(model_class),
            }
        }

    def sheet(
        self,
        document_ids: Sequence[int],
        questions: Sequence[Sequence[int]],
        answer_tokens: int,
        document: Document | None = None,
        asked: Sequence[str] = (),
        sought: Sequence[str] = (),
    ) -> Sheet:
        """document, asked, sought: see Sheet. Made with room as `lcdoc ask` would make it; DoesNotFitError where the
        model's window is smaller, and neither settings nor modes say how to go beyond it."""
        longest = max(map(len, questions))
        asked_tokens = len(document_ids) + longest
        needed = asked_tokens + max(answer_tokens, MIN_ANSWER_TOKENS)
        text = document, tuple(asked), tuple(sought)
        if asked_tokens + MIN_ANSWER_TOKENS > context_window(self.config) and self.reaches(needed):
            return Sheet(document_ids, tuple(questions), needed, *text)
        advice = "--extend auto reads it all at a loss, " if self._settings.extend is None else ""
        room = fit_window(self.config, Need(len(document_ids), longest, answer_tokens, False), advice)
        return Sheet(document_ids, tuple(questions), room.capacity_tokens, *text)

    def reaches(self, length_tokens: int) -> bool:
        """Whether a text of so many tokens is read in every mode: within the window, or beyond it as the settings say.
        Raises UsageError and ModelError where these don't suit a mode; stock transformers never goes beyond."""
        window = context_window(self.config)
        if length_tokens <= window:
            return True
        if self._settings.extend not in (None, NONE) and STOCK in self._modes:
            raise UsageError(
                f"mode {STOCK} reads nothing beyond the model's window of {window:,} tokens; leave it out of --mode, "
                f"or --extend {self._settings.extend}"
            )
        return all(
            mode in NEEDLE_MODES or self._extension(mode, length_tokens) is not None for mode in self._modes
        )

    def _extension(self, mode: str, length_tokens: int) -> Extension | None:
        """How a text of so many tokens is read; an evaluation goes beyond the window only where that is asked for."""
        if mode == STOCK or length_tokens <= context_window(self.config):
            return None
        # A method may take its factors from the profile, whatever the heads do.
        settings = replace(settings_for(mode, self._settings), profile=self._settings.profile)
        if settings.extend is None:
            return None
        return choose_extension(self.config, settings, length_tokens, self._shape)

    def read(self, mode: str, sheet: Sheet, observer: Observer = silent) -> AnyReader:
        """Opens a reader in this mode and reads the document. No suite reads one in any other way."""
        longest = max(map(len, sheet.questions), default=0)
        need = Need(len(sheet.document_ids), longest, 0, keep_turns=not longest)
        extension = self._extension(mode, sheet.capacity_tokens)
        reader = open_reader(
            self._model, mode, self._settings, sheet.capacity_tokens, need, extension=extension
        )
        started = time.perf_counter()

        def on_chunk(done: int) -> None:
            rate = done / (time.perf_counter() - started)
            observer(Progress("read", done, len(sheet.document_ids), rate, reader.cache.nbytes, 0))

        reader.read(
            sheet.document_ids, on_chunk, questions=sheet.questions, repeat_ids=self.prompt.repeat_ids()
        )
        return reader

    def replies(
        self, mode: str, sheet: Sheet, answer_tokens: int, observer: Observer = silent
    ) -> Iterator[Reply]:
        """Reads the document once and answers each question from there, as if it were the only one."""
        if mode in NEEDLE_MODES:
            yield from self._whole_replies(mode, sheet, answer_tokens, observer)
            return
        if mode == STOCK and len(sheet.questions) == 1:
            sheet = _at_once(sheet)
        stop_ids = stop_ids_of(self._model, self.tokenizer)
        started = time.perf_counter()
        reader = self.read(mode, sheet, observer)
        mark = reader.mark() if len(sheet.questions) > 1 else None
        for question_ids in sheet.questions:
            if mark is not None:
                reader.rewind(mark)
            if question_ids:
                reader.prefill(question_ids)
            kv_bytes = reader.cache.nbytes
            pick = Sampler() if mode == STOCK else CircleBreaker(Sampler())
            answer_ids = reader.decode(pick, stop_ids, answer_tokens)
            first = next(answer_ids, None)  # the logits are read here, so that the reading is over
            prefill_s = time.perf_counter() - started
            ids = [] if first is None else [first, *answer_ids]
            text = str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip()
            yield Reply(text, prefill_s, kv_bytes)
            started = time.perf_counter()

    def _whole_replies(
        self, mode: str, sheet: Sheet, answer_tokens: int, observer: Observer
    ) -> Iterator[Reply]:
        assert sheet.document is not None, "such a mode reads text"
        switch(self._model, mode)
        yield from whole_replies(
            mode,
            self._host,
            self._settings,
            sheet.document,
            sheet.asked,
            sheet.sought,
            answer_tokens,
            observer,
        )


def _at_once(sheet: Sheet) -> Sheet:
    """Stock transformers read a document and its question in one forward pass."""
    return Sheet([*sheet.document_ids, *sheet.questions[0]], ((),), sheet.capacity_tokens)
