"""Makes results/panel.svg: lcdoc's panel during a real reading, drawn by rich. Run by hand, no arguments."""

import io
from pathlib import Path

from rich.console import Console
from rich.text import Text

from lcdoc import Reading, ReadSettings, Sampling, load_document
from lcdoc.cli.display import Panel
from lcdoc.cli.totals import plan_line, totals_line
from lcdoc.tasks.progress import Progress

FOLDER = Path(__file__).parent
REPORT = "us-economy-2008-q3.pdf"
QUESTION = "What changed in Q3?"
SHOWN_AT_SHARE = 0.6

console = Console(record=True, width=110, file=io.StringIO(), force_terminal=True)
panel = Panel(console)
panel.clear()  # nothing moves; the picture is taken once
shown = False


def observe(progress: Progress) -> None:
    """Draws the panel at the first report past SHOWN_AT_SHARE of the reading."""
    global shown
    panel(progress)
    if (
        progress.phase == "read"
        and progress.tokens_done > SHOWN_AT_SHARE * progress.tokens_total
        and not shown
    ):
        shown = True
        console.print(panel.draw())


document = load_document(str(FOLDER / REPORT))
settings = ReadSettings(budget="2GB", chunk_tokens=512)
console.print(Text(f'$ lcdoc ask {REPORT} "{QUESTION}" --budget 2GB', style="bold green"))
reading = Reading([document], settings, questions=[QUESTION], observer=observe)
console.print(Text(plan_line(reading.plan, reading.budget_bytes)))
answer = reading.ask(QUESTION, Sampling(), lambda text: None)
console.print(Text(answer.answer))
console.print(Text(totals_line([answer])))
(FOLDER / "results" / "panel.svg").write_text(console.export_svg(title="lcdoc"), encoding="utf-8")
