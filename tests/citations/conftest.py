"""Answers about real documents, with true claims alone or with one planted error, drawn from a seed.

The sentences are cut and the errors planted here without any of lcdoc's own code for answers, so that the two share no
mistakes.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import pytest

from lcdoc.documents import load_document
from lcdoc.documents.document import Document, Page

DOCS = Path(__file__).parent.parent / "data" / "docs"
BOOKS = (
    "federal-register-2020-17221.pdf",
    "epanet22-users-manual.pdf",
    "frankenstein.txt",
    "moby-dick.txt",
    "alice.epub",
    "autogen-paper.docx",
    "wikipedia-microsoft.html",
)
ERRORS = ("digits", "negation", "page", "invented")
AUXILIARY = re.compile(
    r"\b(is|are|was|were|has|have|had|will|would|can|could|should|may|must|did|shall|might)\b (?!not\b)"
)
NEGATION = re.compile(r"\b(?:not|never) (?=[a-z])")
NUMBER = re.compile(r"(?<![\d.,/:-])\d[\d,]*(?:\.\d+)?(?![\d/:-]|\.\d)")
EDITS = (
    (r"\bshall\b", "must"),
    (r"\bupon\b", "on"),
    (r"\butilize\b", "use"),
    (r"\bin order to\b", "to"),
    (r"\bvery ", ""),
    (r"\balso ", ""),
    (r"\bhowever, ", ""),
    (r"\bwhich\b", "that"),
    (r"\bsuch as\b", "like"),
    (r"\bbegan\b", "started"),
    (r"\bpercent\b", "%"),
    (r"\blarge\b", "big"),
    (r"\bthus\b", "so"),
)
REMARKS = (
    "That is the heart of the matter.",
    "The passage is worth reading in full.",
    "Other parts of the text return to this later.",
    "It helps to read this together with what comes before.",
    "This answers the question directly.",
)


@dataclass(frozen=True)
class Part:
    """One claim. kind: "quote" or "own". words: quoted, or said in the answer's own way. source: the sentence it is
    from."""

    kind: str
    words: str
    source: str
    page: Page
    frame: int
    style: int
    names_page: bool
    wrong: bool = False


@dataclass(frozen=True)
class Answer:
    """error: what was planted, or None. wrong: the words that a checker has to find fault with."""

    document: Document
    text: str
    error: str | None = None
    wrong: str = ""


@cache
def document(name: str) -> Document:
    return load_document(str(DOCS / name))


@cache
def sentences(name: str) -> tuple[tuple[str, Page], ...]:
    """Whole sentences of 8 to 40 words on one page, without tables and formulas."""
    found = []
    for page in document(name).pages:
        for paragraph in re.split(r"\n\s*\n", page.text):
            text = " ".join(paragraph.split())
            for sentence in re.split(r"(?<=[a-z][.!?])\s+(?=[A-Z])", text):
                letters = sum(char.isalpha() or char == " " for char in sentence)
                if (
                    8 <= len(sentence.split()) <= 40
                    and re.match(r"[A-Z][a-z]* [a-z]", sentence)
                    and sentence[-1] in ".!?"
                    and letters > 0.88 * len(sentence)
                    and not re.search(r"[\"\u201c\u201d\u2018_|<>{}\[\]]|\.\.|\d\. [A-Z]", sentence)
                    and "gutenberg" not in sentence.lower()
                ):
                    found.append((sentence, page))
    return tuple(found)


def letters(text: str) -> str:
    return re.sub(r"[\W_]", "", text.lower())


class Writer:
    """Draws answers about one document."""

    def __init__(self, draw: random.Random, name: str) -> None:
        self.draw, self.name, self.document = draw, name, document(name)

    def part(self, kind: str, keep: Callable[[str], bool] = lambda sentence: True) -> Part | None:
        choices = [pair for pair in sentences(self.name) if keep(pair[0])]
        if not choices:
            return None
        source, page = self.draw.choice(choices)
        words = source if kind == "quote" else self.own_words(source)
        if kind == "figure":
            kind, words = "own", self.summary(source)
        names_page = kind == "quote" and self.draw.random() < 0.8 or self.draw.random() < 0.6
        frame, style = self.draw.randrange(6), self.draw.randrange(1000)
        return Part(kind, words, source, page, frame, style, names_page)

    def own_words(self, source: str) -> str:
        for pattern, other in EDITS:
            if self.draw.random() < 0.7:
                source = re.sub(pattern, other, source)
        source = source.replace(" %", "%")
        if self.draw.random() < 0.4:
            source = re.sub(r"(?<=\d),(?=\d{3})", "", source)
        clauses = source[:-1].split(", ")
        if len(clauses) > 2 and self.draw.random() < 0.5:
            shorter = ", ".join(clauses[:-1]) + source[-1]
            if len(shorter.split()) >= 8:
                source = shorter
        return source

    def summary(self, source: str) -> str:
        """A figure and what it is about, in another order and with few of the source's words."""
        about = sorted(
            set(re.findall(r"(?<![A-Za-z])[a-z]{5,}(?![A-Za-z])", source)), key=lambda word: (len(word), word)
        )[-4:]
        self.draw.shuffle(about)
        figure = self.draw.choice([match[0] for match in NUMBER.finditer(source)])
        subject = ", ".join(about[:-1]) + f" and {about[-1]}" if len(about) > 1 else "the matter"
        template = self.draw.choice(
            (
                "The figure of {figure} is given where the author speaks of {subject}.",
                "In connection with {subject}, the document mentions {figure}.",
                "As to {subject}, the number to remember is {figure}.",
                "{figure} is what it has to say about {subject}.",
            )
        )
        return template.format(figure=figure, subject=subject)

    def rendered_quote(self, part: Part) -> str:
        """The words as people and models quote them."""
        draw, words = random.Random(part.style), part.words
        tokens = words.split()
        if draw.random() < 0.4 and len(tokens) > 12 and not part.wrong:
            start = draw.randrange(len(tokens) - 8)
            words = " ".join(tokens[start : start + draw.randint(6, len(tokens) - start)])
        tokens = words.split()
        if draw.random() < 0.25 and len(tokens) > 14 and not part.wrong:
            start = draw.randrange(4, len(tokens) - 8)
            gap = draw.choice(["...", "\u2026", "[...]", "[\u2026]", ". . ."])
            words = " ".join([*tokens[:start], gap, *tokens[start + draw.randint(2, 4) :]])
        words = draw.choice([words, words.replace("\u2019", "'"), words.replace("'", "\u2019")])
        words = draw.choice([words, words.replace("\u2014", " - "), words.replace("\u2014", "--")])
        words = draw.choice([words, words, words.replace("-", "\u2011"), words.replace(" ", "\n", 3)])
        if draw.random() < 0.2:
            words = draw.choice([f"[{words[0].lower()}]{words[1:]}", words[0].lower() + words[1:]])
        if part.frame == 1:
            words = words.rstrip(".,;") + ","
        return words

    def reference(self, part: Part) -> str:
        draw, page, unit = random.Random(part.style + 1), part.page, self.document.unit
        if unit == "lines":
            return page.label
        if unit != "page":
            return page.label
        number = draw.choice([page.label, str(page.number)])
        last = number.isdigit() and number == str(page.number) and page.number < self.document.num_pages
        if last and draw.random() < 0.15 and not part.wrong:
            return f"pp. {number}{draw.choice(['-', chr(8211)])}{page.number + 1}"
        return draw.choice(["p. ", "page ", "p."]) + number

    def sentence(self, part: Part, note: int) -> tuple[str, str]:
        """The claim as a sentence of the answer, and its footnote."""
        place, footnote = self.reference(part), ""
        bracket = f" ({place})"
        by_note = part.style % 5 == 0
        if not part.names_page:
            bracket, by_note = "", False
        if by_note:
            bracket, footnote = f"[^{note}]", f"[^{note}]: {self.name}, {place}"
            if self.document.unit not in ("page", "lines"):
                footnote = f"[^{note}]: {self.name} ({place})"
        if part.kind == "own":
            lower = part.words[0].lower() + part.words[1:]
            body, end = part.words[:-1], part.words[-1]
            if part.frame < 3:
                return f"{body}{bracket}{end}", footnote
            frame = ("According to the text, ", "The author says that ", "It is stated that ")[part.frame - 3]
            return f"{frame}{lower[:-1]}{bracket}.", footnote
        words = self.rendered_quote(part)
        left, right = random.Random(part.style + 2).choice(
            ['""', "\u201c\u201d", "\u00ab\u00bb", "\u201c\u201d"]
        )
        quoted = f"{left}{words}{right}"
        if part.frame == 0:
            return f"The text says: {quoted}{bracket}.", footnote
        if part.frame == 1:
            return f"{quoted} it says{bracket}.", footnote
        if part.frame == 2:
            return f"We read that {quoted}{bracket}, which settles it.", footnote
        if part.frame == 3 and part.names_page and not by_note and self.document.unit == "page":
            return (
                f"On {re.sub(r'^(pp?[.]|page) ?', 'page ', place)} it is put this way: {quoted}.",
                "",
            )
        if part.frame == 4:
            place_line = (
                f"\n\n\u2014 {place}"
                if bracket.startswith(" (") and self.document.unit == "page"
                else bracket
            )
            return "As the text has it:\n\n> " + words.replace("\n", "\n> ") + f"{place_line}\n\n", footnote
        return f"{quoted}{bracket}.", footnote

    def compose(self, parts: list[Part], error: str | None = None) -> Answer:
        body, notes, wrong = [], [], ""
        for number, part in enumerate(parts, start=1):
            sentence, footnote = self.sentence(part, number)
            wrong = sentence if part.wrong else wrong
            body.append(f"- {sentence}" if self.bullets else sentence)
            notes += [footnote] if footnote else []
            if self.draw.random() < 0.3:
                body.append(self.draw.choice(REMARKS))
        text = ("\n" if self.bullets else " ").join(body)
        return Answer(self.document, "\n\n".join([text, *notes]), error, wrong)

    @property
    def bullets(self) -> bool:
        return len(self.name) % 2 == 0

    def planted(self, error: str) -> Part | None:
        """A claim with one error."""
        kind = self.draw.choice(["quote", "own"])
        if error == "digits":
            kind = self.draw.choice(["quote", "own", "figure"])
            part = self.part(kind, lambda sentence: bool(NUMBER.search(sentence)))
            return part and self.changed(part, self.other_digits)
        if error == "negation":
            part = self.part(
                kind, lambda sentence: bool(AUXILIARY.search(sentence) or NEGATION.search(sentence))
            )
            return part and self.changed(part, self.negated)
        if error == "page":
            part = self.part(kind)
            return part and self.misplaced(part)
        part = self.part("quote")
        other = self.draw.choice(
            [name for name in ("frankenstein.txt", "moby-dick.txt", "alice.epub") if name != self.name]
        )
        invented = self.draw.choice(sentences(other))[0]
        return part and replace(part, words=invented, wrong=True)

    def changed(self, part: Part, change: Callable[[str], str]) -> Part | None:
        words = change(part.words)
        return replace(part, words=words, wrong=True) if words != part.words else None

    def other_digits(self, words: str) -> str:
        matches = list(NUMBER.finditer(words))
        if not matches:
            return words
        match = self.draw.choice(matches)
        places = [index for index, char in enumerate(match[0]) if char.isdigit()]
        place = self.draw.choice(places)
        digit = self.draw.choice([digit for digit in "123456789" if digit != match[0][place]])
        number = match[0][:place] + digit + match[0][place + 1 :]
        return words[: match.start()] + number + words[match.end() :]

    def negated(self, words: str) -> str:
        if (there := NEGATION.search(words)) and self.draw.random() < 0.7:
            return words[: there.start()] + words[there.end() :]
        return AUXILIARY.sub(r"\1 not ", words, count=1)

    def misplaced(self, part: Part) -> Part | None:
        """Names a page that has neither the words nor, counted the other way, such a page."""
        sought = letters(part.source)
        others = [page for page in self.document.pages if page.text]
        self.draw.shuffle(others)
        for other in others[:20]:
            readings = [
                page for page in self.document.pages if str(page.number) == other.label or page is other
            ]
            readings += [page for page in self.document.pages if page.label == str(other.number)]
            if all(sought not in letters(page.text) for page in readings) and part.page not in readings:
                return replace(part, page=other, names_page=True, wrong=True)
        return None


def answers(seed: int, corrupted: bool, count: int = 100) -> list[Answer]:
    draw = random.Random(f"{seed} {corrupted}")
    found: list[Answer] = []
    while len(found) < count:
        writer = Writer(draw, draw.choice(BOOKS))
        num_claims = draw.randint(1, 4)
        parts = [part for _ in range(num_claims) if (part := writer.part(draw.choice(["quote", "own"])))]
        if draw.random() < 0.5 and (
            figure := writer.part(draw.choice(["own", "figure"]), lambda text: bool(NUMBER.search(text)))
        ):
            parts.append(figure)
        error = ERRORS[len(found) % len(ERRORS)] if corrupted else None
        if error:
            wrong = writer.planted(error)
            if wrong is None:
                continue
            parts[draw.randrange(len(parts))] = wrong
        found.append(writer.compose(parts, error))
    return found


@pytest.fixture(scope="session")
def draw_answers() -> Callable[[int, bool], list[Answer]]:
    """Draws 100 answers: (seed, corrupted)."""
    return answers
