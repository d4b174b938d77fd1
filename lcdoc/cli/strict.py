"""`--strict`: of an answer only what the documents support, or that they do not say."""

from dataclasses import replace

from lcdoc.cli.display import Display
from lcdoc.cli.exits import NOT_SAID, UNSUPPORTED
from lcdoc.cli.footnotes import passage_lines
from lcdoc.cli.measures import count
from lcdoc.tasks.answer import Answer

DOES_NOT_SAY = "The document does not say."


def unheard(piece: str) -> None:
    """Hears an answer whose sentences are not judged yet."""


def strictly(answer: Answer, display: Display, form: str) -> tuple[Answer, int]:
    """The answer of its supported sentences alone, and the exit code that it ends with. Where the documents do not
    say, that is the answer, with the nearest passages unless JSON has them; where they might say, but support no
    sentence, it is empty."""
    support = answer.support
    display.clear()
    if not support.said:
        lines = [DOES_NOT_SAY]
        if support.nearest and form in ("text", "markdown"):
            lines += ["", "Nearest passages:", *passage_lines(support.nearest)]
        return replace(answer, answer="\n".join(lines), citations=()), NOT_SAID
    if not support.supported:
        display.say("no sentence of the answer is supported by the documents; nearest passages:")
        for line in passage_lines(support.nearest):
            display.say(line)
        return replace(answer, answer="", citations=()), UNSUPPORTED
    if support.unsupported:
        display.say(
            f"left out {count(len(support.unsupported), 'sentence')} that the documents do not support"
        )
    text = " ".join(support.supported)
    kept = tuple(citation for citation in answer.citations if citation.quote in text)
    return replace(answer, answer=text, citations=kept), 0
