"""How far a number of texts are, some of which are read and written at the same time."""

import time
from dataclasses import replace

from lcdoc.tasks.progress import Observer, Progress

# Of a text's tokens, those that count when it is read; the others count as its summary is written.
READ_SHARE = 1 / 2


class Tally:
    """Tells an observer of one phase, in tokens of all its texts; these never become fewer."""

    def __init__(self, observer: Observer, phase: str, total_tokens: int) -> None:
        self._observer, self._phase, self._total = observer, phase, total_tokens
        self._finished = self._resumed = 0
        self._most = 0.0
        self._under_way: dict[int, float] = {}  # tokens that count, by text
        self._last = Progress(phase, 0, total_tokens, 0.0, 0, 0)
        self._started_s = time.perf_counter()

    def begin(self, text: int, tokens: int) -> Observer:
        """Who hears of a text of so many tokens. text: its number."""

        def observe(progress: Progress) -> None:
            share = progress.tokens_done / max(progress.tokens_total, 1)
            if progress.phase == "read":
                self._under_way[text] = tokens * READ_SHARE * share
            elif progress.phase == "answer":
                self._under_way[text] = tokens * (READ_SHARE + (1 - READ_SHARE) * share)
            self._tell(progress)

        return observe

    def end(self, text: int, tokens: int, resumed: bool = False) -> None:
        """A text is done; resumed: in an earlier run."""
        self._under_way.pop(text, None)
        self._finished += tokens
        self._resumed += tokens if resumed else 0
        if not resumed:
            self._tell(self._last)

    def _tell(self, progress: Progress) -> None:
        self._last = progress
        now = self._finished + sum(self._under_way.values())
        self._most = min(max(self._most, now), self._total)
        rate = max(0.0, self._most - self._resumed) / max(time.perf_counter() - self._started_s, 1e-9)
        self._observer(
            replace(
                progress,
                phase=self._phase,
                tokens_done=int(self._most),
                tokens_total=self._total,
                tokens_per_s=rate,
            )
        )
