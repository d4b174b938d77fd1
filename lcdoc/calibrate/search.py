"""Searching LongRoPE's rescale factors for a model (arXiv 2402.13753), from its weights to its profile."""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from lcdoc.calibrate.evolution import Evolution, best_so_far
from lcdoc.calibrate.exam import NUM_PLANTED, Exam, Score
from lcdoc.calibrate.rescale import Rescale
from lcdoc.calibrate.trials import Trials
from lcdoc.config import ReadSettings
from lcdoc.engine.extension import Extension, extend_positions, rotary_dim
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import HeadProfile, load_profile
from lcdoc.errors import ModelError, UsageError
from lcdoc.evaluate.haystack import BOOKS, Haystack
from lcdoc.evaluate.report import new_report
from lcdoc.tasks.extending import check_windows
from lcdoc.tasks.host import Host
from lcdoc.tasks.own_profile import own_profile, user_profile_path, weights_sha256
from lcdoc.tasks.progress import Observer, Progress, silent

METHOD = "longrope"
SEEDS = ("pi", "ntk", "yarn")
SEED_TO_BEAT = "ntk"
# What lcdoc may take instead; measured on the held-out text, too, where that is read whole.
GROUPED = "self-extend"
# Factors for a length are taken for texts from this share of it on: shorter ones lose less with less.
RANGE_SHARE = 3 / 4
DECIMALS = 4


@dataclass(frozen=True)
class Goal:
    """What is searched for, and on what. length_tokens: the length, None for twice the model's window. evaluations: how
    many candidates are scored, the seeds among them. text_tokens: read for each of them, spread over the length; None
    for half of it, since a shorter text ranks them in another order than the whole one.
    held_out_tokens: read for the comparison at the end, None for the whole length. tail_weight: of the last tokens'
    negative log likelihood beside the needles'. book: a shipped one or a file of text.

    Raises UsageError for a value that is not allowed."""

    length_tokens: int | None = None
    evaluations: int = 64
    text_tokens: int | None = None
    held_out_tokens: int | None = None
    needles: int = 10
    tail_weight: float = 1.0
    book: str = BOOKS[0]
    seed: int = 0

    def __post_init__(self) -> None:
        if self.evaluations <= len(SEEDS):
            raise UsageError(
                f"evaluations must be above {len(SEEDS)}, which the seeds {', '.join(SEEDS)} take, not "
                f"{self.evaluations}"
            )
        if not 1 <= self.needles <= NUM_PLANTED:
            raise UsageError(f"needles must be from 1 to {NUM_PLANTED}, not {self.needles}")
        if self.tail_weight < 0:
            raise UsageError(f"the tail's weight must be 0 or more, not {self.tail_weight:g}")


@dataclass(frozen=True)
class Step:
    """One evaluation: its number, from 1, its score, and the best total so far."""

    number: int
    score: Score
    total: float
    best: float


class Search:
    """A model whose rescale factors are searched. Making it loads no weights."""

    def __init__(self, settings: ReadSettings, goal: Goal) -> None:
        """Raises UsageError and ModelError where the model or the lengths don't suit, DocumentError where the book
        can't be read."""
        self._settings, self.goal, self._host = settings, goal, Host(settings)
        self._files, self._config = self._host.files, self._host.config
        self._window = int(self._config.get_text_config().max_position_embeddings)
        self.length_tokens = goal.length_tokens or 2 * self._window
        if self.length_tokens <= self._window:
            raise UsageError(
                f"--length {self.length_tokens:,} is within the model's window of {self._window:,} tokens, where "
                f"nothing needs rescaling; choose a greater one"
            )
        self._check_model()
        tokenizer = self._host.tokenizer
        self._book = Haystack.open(goal.book, tokenizer)
        self._other = Haystack.open(next(book for book in BOOKS if book != goal.book), tokenizer)
        text_tokens = goal.text_tokens or self.length_tokens // 2
        self.exam = self._exam(self._book, text_tokens, goal.needles, goal.seed)
        held_out_tokens = goal.held_out_tokens or self.length_tokens
        self.held_out_exam = self._exam(self._other, held_out_tokens, NUM_PLANTED, goal.seed + 1)
        self.trials = Trials()

    @property
    def path(self) -> Path:
        """Where the profile belongs, to be used whenever this model reads."""
        return user_profile_path(self._files)

    def run(self, checkpoint: Path, observer: Observer = silent) -> Iterator[Step]:
        """Scores candidates from where the checkpoint is; each is saved there as it is done. Raises UsageError for a
        checkpoint of other settings."""
        self.trials = Trials.load(checkpoint, self._started_with)
        model = self._load()
        own = (Rescale.of(model, self._extension(method)) for method in SEEDS)
        evolution = Evolution(tuple(own), self.goal.seed)
        while len(self.trials.candidates) < self.goal.evaluations:
            candidates = self.trials.candidates
            candidate = evolution.propose([(one, self._total(score)) for one, score in candidates])
            score = self._take(self.exam, self._extension(METHOD, candidate), observer)
            candidates.append((candidate, score))
            self.trials.save(checkpoint, self._started_with)
            yield Step(len(candidates), score, self._total(score), self.best_scores[-1])

    def hold_out(self, checkpoint: Path, observer: Observer = silent) -> Iterator[tuple[str, Score]]:
        """After `run`: scores the best candidate, the NTK seed and what else lcdoc may take on the other text, each
        saved as it is done."""
        methods = {METHOD: self._extension(METHOD, self.best), SEED_TO_BEAT: self._extension(SEED_TO_BEAT)}
        if self.held_out_exam.is_whole:
            methods[GROUPED] = self._extension(GROUPED)
        for method, extension in methods.items():
            if method not in self.trials.held_out:
                try:
                    score = self._take(self.held_out_exam, extension, observer)
                except ModelError:
                    if method != GROUPED:
                        raise
                    continue  # keys that can't be turned: then lcdoc never takes it either
                self.trials.held_out[method] = score
                self.trials.save(checkpoint, self._started_with)
            yield method, self.trials.held_out[method]

    @property
    def best(self) -> Rescale:
        return min(self.trials.candidates, key=lambda pair: self._total(pair[1]))[0]

    @property
    def best_scores(self) -> list[float]:
        """The best total after each evaluation."""
        return best_so_far([self._total(score) for _, score in self.trials.candidates])

    @property
    def beats_seed(self) -> bool:
        """Whether the best candidate reads the held-out text better than NTK does, and is another."""
        held_out = self.trials.held_out
        seed = self.trials.candidates[SEEDS.index(SEED_TO_BEAT)][0]
        return self.best != seed and self._total(held_out[METHOD]) < self._total(held_out[SEED_TO_BEAT])

    def told(self, score: Score) -> dict[str, float]:
        """A score as plain data."""
        numbers = {"score": self._total(score), **asdict(score), "tail_perplexity": score.tail_perplexity}
        return {name: round(number, DECIMALS) for name, number in numbers.items()}

    def profile(self) -> HeadProfile:
        """The model's own profile, with the best factors."""
        before = own_profile(self._files)
        rope = self.best.rope | self._facts
        if before is not None:
            return replace(load_profile(before), rope=rope)
        source, measured = "rescale factors alone; nothing is known of heads", {"model_sha256": self._sha256}
        return HeadProfile(self._files.name, (), 0, 0, source, measured=measured, rope=rope)

    def report(self) -> dict[str, Any]:
        """All that was measured, with every candidate."""
        head = new_report("extend", self._files.name, self._settings.device, self._settings.dtype)
        return head | {
            "settings": asdict(self.goal) | {"length_tokens": self.length_tokens},
            "best": self.best.rope,
            **self._facts,
            "beats_ntk": self.beats_seed,
            "evaluations": self.trials.rows(),
        }

    @property
    def _facts(self) -> dict[str, Any]:
        """What a profile and a report tell of the search."""
        goal, candidates = self.goal, self.trials.candidates
        head = new_report("extend", self._files.name, self._settings.device, self._settings.dtype)
        scores = [self._total(score) for _, score in candidates]
        least = int(max(self._window, RANGE_SHARE * self.length_tokens))
        return {
            "method": "evolutionary search of rescale factors (LongRoPE, arXiv 2402.13753)",
            "window_tokens": self._window,
            "range_tokens": [least, self.length_tokens],
            "score": self.told(candidates[scores.index(min(scores))][1]),
            "seeds": {method: round(score, DECIMALS) for method, score in zip(SEEDS, scores, strict=False)},
            "best_scores": [round(score, DECIMALS) for score in self.best_scores],
            "held_out": {method: self.told(score) for method, score in self.trials.held_out.items()},
            "tail_weight": goal.tail_weight,
            "data": _data(self.exam),
            "data_sha256": self._book.sha256,
            "held_out_data": _data(self.held_out_exam),
            "held_out_sha256": self._other.sha256,
            "seed": goal.seed,
            "dtype": head["model"]["dtype"],
            "date": head["date"],
            "versions": {name: str(number) for name, number in head["versions"].items()},
            "model_sha256": self._sha256,
        }

    @cached_property
    def _started_with(self) -> dict[str, Any]:
        """What a checkpoint must agree with; a search may go on for more evaluations than it was begun for."""
        goal = {name: value for name, value in asdict(self.goal).items() if name != "evaluations"}
        own = {"length_tokens": self.length_tokens, "model": self._files.name, "model_sha256": self._sha256}
        return goal | own | {"dtype": self._host.dtype_name}

    @cached_property
    def _sha256(self) -> str:
        return weights_sha256(self._files)

    def _check_model(self) -> None:
        """Raises UsageError or ModelError for a model that LongRoPE or a seed doesn't suit."""
        check_windows(ModelShape.from_config(self._config, 0, self._host.dtype), METHOD)
        text = self._config.get_text_config()
        for method in SEEDS:
            self._extension(method)
        self._extension(METHOD, Rescale((1.0,) * (rotary_dim(text) // 2)))

    def _exam(self, book: Haystack, text_tokens: int, needles: int, seed: int) -> Exam:
        if text_tokens > self.length_tokens:
            raise UsageError(
                f"a text of {text_tokens:,} tokens is longer than the {self.length_tokens:,} that are searched for; "
                f"choose fewer --text-tokens or --held-out-tokens"
            )
        return Exam.draw(
            book, text_tokens=text_tokens, length_tokens=self.length_tokens, num_needles=needles, seed=seed
        )

    def _load(self) -> Any:
        return self._host.load(self._settings.weights, offloaded_layers=0)

    def _extension(self, method: str, found: Rescale | None = None) -> Extension:
        rope = None if found is None else found.rope
        return Extension.of(method, self._config, self.length_tokens, rope)

    def _take(self, exam: Exam, extension: Extension, observer: Observer) -> Score:
        started_s = time.perf_counter()

        def on_chunk(done: int) -> None:
            rate = done / (time.perf_counter() - started_s)
            observer(Progress("read", done, len(exam.document_ids), rate, 0, 0))

        model = self._load()
        try:
            return exam.take(model, extension, self._settings.chunk_tokens, on_chunk)
        finally:
            extend_positions(model, None)

    def _total(self, score: Score) -> float:
        return score.total(self.goal.tail_weight)


def _data(exam: Exam) -> str:
    spread = "" if exam.is_whole else f", spread over {exam.length_tokens:,}"
    return f"{len(exam.recalls)} needles in {exam.capacity_tokens:,} tokens of {exam.book}{spread}"
