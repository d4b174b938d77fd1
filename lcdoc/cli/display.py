"""What stderr shows while a task works: a live panel on a terminal, plain lines anywhere else."""

import os
import sys
import time
from typing import TYPE_CHECKING, Protocol

from lcdoc.cli.measures import bytes_text, clock, count
from lcdoc.cli.sanitize import clean_line
from lcdoc.config import Appearance
from lcdoc.tasks.progress import Progress, StreamProgress

if TYPE_CHECKING:
    from rich.console import Console, Group
    from rich.live import Live

PHASES = {
    "parse": "parsing",
    "load": "loading the model",
    "read": "reading",
    "judge": "judging passages",
    "reread": "reading again",
    "join": "joining passages",
    "answer": "answering",
    "map": "summarizing parts",
    "merge": "merging",
    "stream": "reading",
    "tell": "telling what was read",
}
BAR_COLUMNS = 40
REFRESH_PER_S = 8


class Display(Protocol):
    """An observer of tasks that can also say single lines and get out of the way."""

    def __call__(self, progress: Progress) -> None: ...

    def say(self, text: str) -> None:
        """One line that stays."""

    def clear(self) -> None:
        """Leaves nothing moving on the screen; the next progress after resume() may draw again."""

    def resume(self) -> None: ...


class Quiet:
    """Shows nothing."""

    def __call__(self, progress: Progress) -> None:
        return

    def say(self, text: str) -> None:
        return

    def clear(self) -> None:
        return

    def resume(self) -> None:
        return


class Lines(Quiet):
    """A line at the start of each phase."""

    def __init__(self) -> None:
        self._phase: str | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.phase != self._phase:
            self._phase = progress.phase
            tokens = f" {progress.tokens_total:,} tokens" if _has_end(progress) else ""
            self.say(f"{PHASES.get(progress.phase, progress.phase)}{tokens}")

    def say(self, text: str) -> None:
        if sys.stderr is not None:
            sys.stderr.write(f"{clean_line(text)}\n")
            sys.stderr.flush()

    def resume(self) -> None:
        self._phase = None


class Panel:
    """Phase, tokens with a bar, speed, time left, KV bytes, memory and time passed, redrawn in place."""

    def __init__(self, console: "Console") -> None:
        self._console = console
        self._live: Live | None = None
        self._paused = False
        self._progress = Progress("parse", 0, 0, 0.0, 0, 0)
        self._started_s = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        self._progress = progress
        if self._live is None and not self._paused:
            from rich.live import Live

            self._live = Live(
                get_renderable=self.draw,
                console=self._console,
                transient=True,
                refresh_per_second=REFRESH_PER_S,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start(refresh=True)

    def say(self, text: str) -> None:
        from rich.text import Text

        self._console.print(Text(clean_line(text)), soft_wrap=True)

    def clear(self) -> None:
        self._paused = True
        if self._live is not None:
            self._live.stop()
            self._live = None

    def resume(self) -> None:
        self._paused = False
        self._started_s = time.monotonic()

    def draw(self) -> "Group":
        """What the panel shows at this moment."""
        from rich.console import Group
        from rich.padding import Padding
        from rich.progress_bar import ProgressBar
        from rich.text import Text

        now = self._progress
        rows: list[Text | Padding] = [
            Text(f"{PHASES.get(now.phase, now.phase)}{self._tokens()}", style="bold")
        ]
        if _has_end(now):
            width = min(BAR_COLUMNS, self._console.width)
            bar = ProgressBar(total=now.tokens_total, completed=now.tokens_done, width=width)
            rows.append(Padding(bar, 0))  # gives it a line of its own
        rows.append(Text(" · ".join(self._facts()), style="dim"))
        return Group(*rows)

    def _tokens(self) -> str:
        if _has_end(self._progress):
            return f" {self._progress.tokens_done:,} of {self._progress.tokens_total:,} tokens"
        return f" {count(self._progress.tokens_done, 'token')}" if self._progress.tokens_done else ""

    def _facts(self) -> list[str]:
        now, facts = self._progress, []
        if now.tokens_done > 1 and now.tokens_per_s > 0:
            facts.append(f"{now.tokens_per_s:,.0f} tokens/s")
            if _has_end(now) and now.tokens_total > now.tokens_done:
                facts.append(f"{clock((now.tokens_total - now.tokens_done) / now.tokens_per_s)} left")
        if isinstance(now, StreamProgress):
            facts.append(f"lag {now.lag_s:.0f} s, {bytes_text(now.waiting_bytes)} waiting")
        if now.kv_bytes:
            facts.append(f"KV {bytes_text(now.kv_bytes)}")
        if now.memory_bytes:
            limit = f" of {bytes_text(now.budget_bytes)}" if now.budget_bytes else ""
            facts.append(f"memory {bytes_text(now.memory_bytes)}{limit}")
        return [*facts, clock(time.monotonic() - self._started_s)]


def _has_end(progress: Progress) -> bool:
    """An answer's total is only the most it may have."""
    return progress.tokens_total > 0 and progress.phase != "answer"


def is_terminal(stream: object) -> bool:
    """Whether a standard stream is open and a terminal."""
    return stream is not None and stream.isatty()  # type: ignore[attr-defined]


def open_display(appearance: Appearance) -> Display:
    """The display that stderr and the settings ask for."""
    if appearance.quiet:
        return Quiet()
    if not is_terminal(sys.stderr) or os.environ.get("TERM") in ("dumb", "unknown"):
        return Lines()
    from rich.console import Console

    colorless = appearance.color == "never" or (
        appearance.color == "auto" and bool(os.environ.get("NO_COLOR"))
    )
    return Panel(Console(file=sys.stderr, force_terminal=True, no_color=colorless, highlight=False))
