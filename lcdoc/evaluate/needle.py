"""Needle in a haystack: whether one sentence is found again, by length of the text and depth in it."""

import re
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.attention import register
from lcdoc.engine.sampling import Sampler
from lcdoc.evaluate.grid import Cell, Grid, Question, score
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.modes import STOCK, open_reader, stock_attention
from lcdoc.evaluate.report import new_report
from lcdoc.evaluate.templates import draw_needle
from lcdoc.models import load_config, load_model, load_tokenizer, resolve
from lcdoc.tasks.ask import stop_ids_of
from lcdoc.tasks.plan import Need, fit_window
from lcdoc.tasks.progress import Observer, Progress, silent
from lcdoc.tokens import Prompt

ANSWER_TOKENS = 64
THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3})")


class NeedleTest:
    """A model and a grid of questions. Making it loads the model, once every question is known to fit."""

    def __init__(self, settings: ReadSettings, grid: Grid, haystack: Path | None = None) -> None:
        """haystack: a text file; None is the one that comes with lcdoc. Raises DocumentError where it can't
        be read, UsageError where it is too short and DoesNotFitError where the model's window is."""
        self._grid, self._settings = grid, settings
        files = resolve(settings.model)
        self._tokenizer, self._config = load_tokenizer(files), load_config(files)
        text = Haystack.open(haystack, self._tokenizer)
        self.questions = tuple(make_questions(text, grid))
        for question in self.questions:
            self._capacity_tokens(question)
        self._model = load_model(
            files, device=settings.device, dtype=settings.dtype, attn_implementation=register()
        )
        self._head = new_report("needle", files.name, settings.device, settings.dtype) | {
            "settings": {
                **asdict(grid),
                "depths": grid.depth_shares,
                "haystack": text.name,
                "haystack_sha256": text.sha256,
                "max_new_tokens": ANSWER_TOKENS,
                "chunk_tokens": settings.chunk_tokens,
                "sink_size": settings.sink_size,
                "recent_size": settings.recent_size,
                "profile": settings.profile,
                "stock_attention": stock_attention(self._model),
            }
        }
        self.cells: list[Cell] = []

    def run(self, observer: Observer = silent) -> Iterator[Cell]:
        """Reads the cells, mode beside mode, and yields each as it is done."""
        for question in self.questions:
            for mode in self._grid.modes:
                self.cells.append(self._read(question, mode, observer))
                yield self.cells[-1]

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON."""
        return self._head | {
            "complete": len(self.cells) == self._grid.num_cells,
            "score": score(self.cells),
            "cells": [asdict(cell) for cell in self.cells],
        }

    def _capacity_tokens(self, question: Question) -> int:
        """As `lcdoc ask` would make room for this reading; DoesNotFitError where the model's window is smaller."""
        others = question.prompt_tokens - question.document_tokens
        return fit_window(
            self._config, Need(question.document_tokens, others, ANSWER_TOKENS, False)
        ).capacity_tokens

    def _read(self, question: Question, mode: str, observer: Observer) -> Cell:
        reader = open_reader(self._model, mode, self._settings, self._capacity_tokens(question))
        started = time.perf_counter()

        def on_chunk(done: int) -> None:
            rate = done / (time.perf_counter() - started)
            observer(Progress("read", done, len(question.document_ids), rate, reader.cache.nbytes, 0))

        if mode == STOCK:
            reader.prefill(question.document_ids + question.question_ids, on_chunk)
        else:
            reader.prefill(question.document_ids, on_chunk)
            reader.prefill(question.question_ids)
        stop_ids = stop_ids_of(self._model, self._tokenizer)
        answer_ids = reader.decode(Sampler(), stop_ids, ANSWER_TOKENS)
        first = next(answer_ids, None)  # the logits are read here, so that the reading is over
        prefill_s = time.perf_counter() - started
        ids = [] if first is None else [first, *answer_ids]
        answer = str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip()
        return Cell(
            mode=mode,
            length_tokens=question.length_tokens,
            depth=question.depth,
            seed=question.seed,
            key=question.key,
            value=question.value,
            prompt_tokens=question.prompt_tokens,
            document_tokens=question.document_tokens,
            needle_depth=round(question.needle_depth, 4),
            prefill_s=round(prefill_s, 3),
            answer=answer,
            right=is_right(answer, question.value),
        )


def make_questions(haystack: Haystack, grid: Grid) -> Iterator[Question]:
    """The prompt of each cell, token for token what `lcdoc ask` makes of such a file and question."""
    prompt = Prompt.from_tokenizer(haystack.tokenizer)
    head_ids = prompt.head_ids()
    for length in grid.lengths:
        for depth in grid.depth_shares:
            for seed in range(grid.seeds):
                needle = draw_needle(grid.template, f"{length} {depth} {seed}")
                placed = haystack.place(needle.sentence, length_tokens=length, depth=depth, seed=seed)
                yield Question(
                    length_tokens=length,
                    depth=depth,
                    seed=seed,
                    key=needle.key,
                    value=needle.value,
                    document_tokens=len(placed.tokens.token_ids),
                    needle_depth=placed.depth,
                    document_ids=head_ids + placed.tokens.token_ids,
                    question_ids=prompt.question_ids(needle.question, first=True),
                )


def is_right(answer: str, value: str) -> bool:
    """Whether the digits of the value occur in the answer, as a number of their own; 1,234,567 is 1234567."""
    plain = THOUSANDS_COMMA.sub("", answer)
    return re.search(rf"(?<!\d){value}(?!\d)", plain) is not None
