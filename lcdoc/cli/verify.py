"""`lcdoc verify`: an answer's quotes, figures and page numbers held against documents, without a model."""

from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.exits import UNSUPPORTED
from lcdoc.errors import UsageError

if TYPE_CHECKING:
    from lcdoc.tasks.verification import CheckedClaim, Verification

# Of a file that is certainly no answer no more is read; the limit in characters is the task's.
MAX_ANSWER_BYTES = 4_000_000
AnswerFile = Annotated[
    str, typer.Argument(metavar="ANSWER", help="The answer as text or Markdown; - is stdin.")
]


def verify_command(
    answer: AnswerFile,
    files: options.Files,
    pages: options.Pages = None,
    password: options.Password = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Check an answer's quotes, figures and page numbers against documents; needs no model.

    Prints one line for each claim: verified (a quote, to the letter or but for typography), repaired (nearly; the
    source's own words are shown), unverified (found nowhere), supported (a sentence whose figures and pages are right),
    unsupported. Sentences without quote, figure or page are counted and not judged. Ends with 6 if anything is wrong.
    """
    from lcdoc.cli.ask import parse
    from lcdoc.cli.display import open_display
    from lcdoc.cli.output import json_text
    from lcdoc.documents.source import STDIN, expand_sources
    from lcdoc.tasks.verification import verify

    settings = options.settings_of(quiet=quiet, no_color=no_color)
    sources = expand_sources(files)
    if answer == STDIN and STDIN in sources:
        raise UsageError("stdin (-) is the answer and a document; name one of them as a file")
    text = _read_answer(answer)
    display = open_display(settings.appearance)
    try:
        documents = parse(sources, pages, password, display)
        verification = verify(answer, text, documents)
    finally:
        display.clear()
    if json:
        typer.echo(json_text(verification.to_json(), indent=2))
    else:
        _print(verification)
        display.say(_totals(verification))
    return 0 if verification.supported else UNSUPPORTED


def _read_answer(name: str) -> str:
    """Of a file, or of stdin for "-"."""
    from lcdoc.documents.cleaning import clean_text
    from lcdoc.documents.encoding import decode
    from lcdoc.documents.limits import Limits
    from lcdoc.documents.source import read_source

    text, _ = decode(read_source(name, Limits(file_bytes=MAX_ANSWER_BYTES)), name)
    return clean_text(text)


def _print(verification: "Verification") -> None:
    from lcdoc.cli.sanitize import clean_line

    for claim in verification.claims:
        if claim.supported is not None:
            typer.echo(clean_line(_line(claim)))


def _line(claim: "CheckedClaim") -> str:
    """Status, where, the claim's words, what is wrong, and what a source has that says nearly the same."""
    from lcdoc.cli.footnotes import place_name

    words = f'"{claim.words}"' if claim.kind == "quote" else claim.words
    place = ""
    if claim.source is not None and claim.page is not None and claim.label is not None:
        place = f"{place_name(claim.source, claim.unit, claim.page, claim.last_page, claim.label)}: "
    line = f"{claim.status}  line {claim.line}  {place}{words}"
    wrong = "; ".join((*claim.problems, *(f"note: {note}" for note in claim.notes)))
    line += f"  [{wrong}]" if wrong else ""
    shows_source = claim.status == "repaired" or (claim.status == "unsupported" and claim.source_words)
    return line + (f'  the source: "{claim.source_words}"' if shows_source else "")


def _totals(verification: "Verification") -> str:
    from lcdoc.cli.measures import count

    checked = [claim for claim in verification.claims if claim.supported is not None]
    wrong = sum(not claim.supported for claim in checked)
    unchecked = len(verification.claims) - len(checked)
    facts = [f"{count(len(checked), 'claim')} checked, {wrong or 'none'} found wrong"]
    if unchecked:
        facts.append(f"{count(unchecked, 'sentence')} without quote, figure or page not judged")
    return "; ".join(facts)
