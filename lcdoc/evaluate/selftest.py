"""Needles in the user's own documents, read and asked for as `lcdoc ask` would under the same settings."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import Any

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document
from lcdoc.engine.memory import release_unused
from lcdoc.errors import DocumentError, DoesNotFitError, UsageError
from lcdoc.evaluate.grid import MOST_IN_ONE_READING
from lcdoc.evaluate.needle import ANSWER_TOKENS, is_right
from lcdoc.evaluate.planting import Ground, Spot
from lcdoc.evaluate.templates import TEMPLATES, Needle, draw_needle
from lcdoc.tasks.answer import SCHEMA_VERSION, Answer
from lcdoc.tasks.exact import exactly
from lcdoc.tasks.host import Host
from lcdoc.tasks.opening import AnyReading, open_reading
from lcdoc.tasks.plan import QUESTION_POLICY
from lcdoc.tasks.progress import Observer, silent

# What an exact reading came to, of a needle that was missed.
FINDS, MISSES, TOO_LARGE = "yes", "no", "does not fit"


@dataclass(frozen=True)
class Layout:
    """depths: how many, evenly from start to end. seeds: how many needles at each of them."""

    depths: int = 5
    seeds: int = 1

    def __post_init__(self) -> None:
        for name, value in (("depths", self.depths), ("seeds", self.seeds)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        if self.depths > MOST_IN_ONE_READING:
            raise UsageError(
                f"depths must be {MOST_IN_ONE_READING} or fewer, not {self.depths}: so many needles are told apart"
            )

    @property
    def depth_shares(self) -> tuple[float, ...]:
        """From 0, the start, to 1, the end; a single one is the middle."""
        return tuple(idx / (self.depths - 1) for idx in range(self.depths)) if self.depths > 1 else (0.5,)


@dataclass(frozen=True)
class Planted:
    """A needle, and where in the documents it goes. depth: as asked for."""

    depth: float
    seed: int
    template: str
    needle: Needle
    spot: Spot


@dataclass(frozen=True)
class Trial:
    """What came of one needle.

    depth: as asked for; needle_depth: as the borders of sentences allowed, both shares of the text. page, label: where
    it was planted. exact_finds: of a needle that was missed by a reading that is not exact, whether an exact one finds
    it: "yes" (the settings missed it), "no" (the model itself does) or "does not fit" the budget or the window; else
    None.
    """

    depth: float
    needle_depth: float
    seed: int
    template: str
    source: str
    page: int
    label: str
    sentence: str
    question: str
    value: str
    answer: str
    found: bool
    exact_finds: str | None


class SelfTest:
    """Needles at several depths of the user's documents. Making it reads nothing.

    Where the plan listens to the question each needle is alone in the documents, and they are read anew for each, as
    they would be for one question. Else the needles of all depths stand there together, are read once, and each is
    asked for: what is kept doesn't depend on the question then.
    """

    def __init__(
        self,
        documents: Sequence[Document],
        settings: ReadSettings,
        sampling: Sampling,
        layout: Layout,
        *,
        observer: Observer = silent,
        on_note: Callable[[str], None] = lambda note: None,
        on_plan: Callable[[AnyReading], None] = lambda reading: None,
    ) -> None:
        """sampling: as answers are written; its max_new_tokens is what the plan makes room for. on_plan hears of each
        reading under the settings before it begins. Raises DocumentError for documents without text."""
        if not any(page.text.strip() for document in documents for page in document.pages):
            raise DocumentError("the document holds no text that the model can read")
        self._settings, self._sampling = settings, sampling
        self._observer, self._on_note, self._on_plan = observer, on_note, on_plan
        self._ground, self._host = Ground.of(documents), Host(settings)
        self._groups = [tuple(self._draw(layout, seed)) for seed in range(layout.seeds)]
        self._missed: list[tuple[tuple[Planted, ...], list[tuple[int, Planted]]]] = []
        self.num_trials = layout.depths * layout.seeds
        self.trials: list[Trial] = []
        self.answers: list[Answer] = []

    @property
    def num_found(self) -> int:
        return sum(trial.found for trial in self.trials)

    def run(self) -> Iterator[Trial]:
        """Reads, asks, and yields each needle as it is done; then once more each that was missed, with what an exact
        reading makes of it. An interrupt leaves `trials` at what was done."""
        for group in self._groups:
            yield from self._read(group)
        for group, missed in self._missed:
            yield from self._read_exactly(group, missed)

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON; plan, receipt, memory and timing are those of the last reading under
        the settings. Needs one needle or more to be done."""
        last = self.answers[-1].to_json()
        return {
            "schema_version": SCHEMA_VERSION,
            "complete": len(self.trials) == self.num_trials,
            "num_needles": self.num_trials,
            "num_asked": len(self.trials),
            "num_found": self.num_found,
            "recall": self.num_found / len(self.trials),
            "needles": [asdict(trial) for trial in self.trials],
            **{name: last[name] for name in ("receipt", "plan", "memory", "timing", "model")},
        }

    def _read(self, group: tuple[Planted, ...]) -> Iterator[Trial]:
        reading = self._open(group, self._settings)
        if len(group) > 1 and reading.plan.evict == QUESTION_POLICY:
            del reading  # two don't go into memory
            for planted in group:
                yield from self._read((planted,))
            return
        self._on_plan(reading)
        missed = []
        for planted in group:
            answer = self._ask(reading, planted)
            self.answers.append(answer)
            self.trials.append(self._trial(planted, answer.answer))
            if not self.trials[-1].found and reading.plan.loss:
                missed.append((len(self.trials) - 1, planted))
            yield self.trials[-1]
        if missed:
            self._missed.append((group, missed))

    def _read_exactly(self, group: tuple[Planted, ...], missed: list[tuple[int, Planted]]) -> Iterator[Trial]:
        """The same documents again, and what was missed in them."""
        reading: AnyReading | None = None
        try:
            reading = self._open(group, exactly(self._settings))
            reading.read()
        except DoesNotFitError:
            reading = None
        for idx, planted in missed:
            verdict = TOO_LARGE
            if reading is not None:
                found = is_right(self._ask(reading, planted).answer, planted.needle.value)
                verdict = FINDS if found else MISSES
            self.trials[idx] = replace(self.trials[idx], exact_finds=verdict)
            yield self.trials[idx]

    def _open(self, group: tuple[Planted, ...], settings: ReadSettings) -> AnyReading:
        release_unused()  # of the reading before
        return open_reading(
            self._ground.plant([(planted.needle.sentence, planted.spot) for planted in group]),
            settings,
            max_new_tokens=self._sampling.max_new_tokens,
            questions=[planted.needle.question for planted in group],
            observer=self._observer,
            on_note=self._on_note,
            host=self._host,
        )

    def _ask(self, reading: AnyReading, planted: Planted) -> Answer:
        """The value is short: a model that goes on for long is cut."""
        sampling = replace(self._sampling, max_new_tokens=min(ANSWER_TOKENS, self._sampling.max_new_tokens))
        answer = reading.ask(planted.needle.question, sampling, lambda text: None)
        if answer.finish_reason == "interrupted":
            raise KeyboardInterrupt
        return answer

    def _draw(self, layout: Layout, seed: int) -> Iterator[Planted]:
        """The templates take turns, so that needles in one document are told apart by more than their keys. No value
        occurs in the documents themselves."""
        text = "\n".join(page.text for document in self._ground.documents for page in document.pages)
        names, taken = list(TEMPLATES), list[Needle]()
        for idx, depth in enumerate(layout.depth_shares):
            turns = (names[(idx + seed + attempt) % len(names)] for attempt in count())
            drawn = ((name, draw_needle(name, f"{depth} {seed}", taken)) for name in turns)
            template, needle = next(pair for pair in drawn if not is_right(text, pair[1].value))
            taken.append(needle)
            yield Planted(depth, seed, template, needle, self._ground.spot_at(depth))

    def _trial(self, planted: Planted, answer: str) -> Trial:
        needle, spot, page = planted.needle, planted.spot, self._ground.page_of(planted.spot)
        return Trial(
            depth=planted.depth,
            needle_depth=round(self._ground.depth_of(spot), 4),
            seed=planted.seed,
            template=planted.template,
            source=self._ground.documents[spot.document_idx].source,
            page=page.number,
            label=page.label,
            sentence=needle.sentence,
            question=needle.question,
            value=needle.value,
            answer=answer,
            found=is_right(answer, needle.value),
            exact_finds=None,
        )
