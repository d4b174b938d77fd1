"""A bench from its plan to its report."""

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lcdoc.bench.comparison import Comparison
from lcdoc.bench.peak import compare_memory
from lcdoc.bench.speed import DECODE_TOKENS, compare_decode, compare_prefill
from lcdoc.bench.subject import Subject
from lcdoc.bench.text_ids import TextIds
from lcdoc.bench.turns import Turns
from lcdoc.config import ReadSettings
from lcdoc.engine.profiles import load_profile
from lcdoc.errors import UsageError
from lcdoc.evaluate.report import new_report
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.progress import Observer, silent

UNITS = {"prefill": "s", "decode": "s", "memory": "bytes"}


class Bench:
    """what: "prefill" (seconds to read), "decode" (seconds a token) or "memory" (peak bytes). text: the document whose
    first tokens are read, else random ones; memory does not depend on it, and takes none."""

    def __init__(
        self, what: str, subject: Subject, settings: ReadSettings, turns: Turns, text: str | None = None
    ) -> None:
        """Raises UsageError for a text that can't be read so."""
        if text is not None and what == "memory":
            raise UsageError(f"--text {text}: how much memory is taken does not depend on what is read")
        self._ids_of = TextIds(text, subject, max(turns.lengths)) if text is not None else None
        self.what, self._subject, self._turns = what, subject, turns
        self._settings = settings = with_own_profile(settings, subject.files)
        self._head = new_report(f"bench {what}", subject.name, subject.device, subject.dtype) | {
            "settings": {
                **asdict(turns),
                "weights": settings.weights,
                "chunk_tokens": settings.chunk_tokens,
                "sink_size": settings.sink_size,
                "recent_size": settings.recent_size,
                "profile": Path(settings.profile).stem if settings.profile else None,
                "profile_sha256": load_profile(settings.profile).sha256 if settings.profile else None,
                "streaming": settings.streaming,
                "decode_tokens": DECODE_TOKENS,
                "text": self._ids_of.told if self._ids_of else None,
            }
        }
        self._so_far: dict[int, Comparison] = {}
        self._turns_done = 0

    @property
    def comparisons(self) -> list[Comparison]:
        """All there is so far, by length."""
        return [self._so_far[length] for length in sorted(self._so_far)]

    def run(self, observer: Observer = silent) -> Iterator[Comparison]:
        """Measures turn after turn and yields all there is of its length as each is done."""
        for comparison in self._compare(observer):
            self._so_far[comparison.length_tokens] = comparison
            self._turns_done += 1
            yield comparison

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON."""
        unit, comparisons = UNITS[self.what], self.comparisons
        report = self._head | {
            "complete": self._turns_done == self._turns.number,
            "results": [comparison.to_json(unit) for comparison in comparisons],
        }
        if self.what == "prefill":
            report["rates_to_shortest"] = {
                mode: {str(one.length_tokens): one.rates(mode, comparisons[0]) for one in comparisons[1:]}
                for mode in self._turns.contestants
            }
        return report

    def _compare(self, observer: Observer) -> Iterator[Comparison]:
        if self.what == "memory":
            return compare_memory(self._subject, self._settings, self._turns, observer)
        compare = {"prefill": compare_prefill, "decode": compare_decode}[self.what]
        stock, weights = self._subject.load(packed=False), self._settings.weights
        model = self._subject.load(weights) if weights != "model" or self._subject.packs else stock
        # What is read with is said by the model; each mode says how.
        settings = replace(self._settings, weights="model")
        return compare(model, settings, self._turns, observer, stock=stock, ids_of=self._ids_of)
