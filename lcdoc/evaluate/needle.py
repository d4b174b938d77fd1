"""Needle in a haystack: whether one sentence is found again, by length of the text and depth in it."""

import re
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.evaluate.grid import Cell, Grid, Question, score
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.reply import Reply
from lcdoc.evaluate.subject import Sheet, Subject
from lcdoc.evaluate.suite import Round, Suite
from lcdoc.evaluate.templates import Needle, draw_needle
from lcdoc.tasks.progress import Observer
from lcdoc.tokens import Prompt

ANSWER_TOKENS = 64
THOUSANDS_COMMA = re.compile(r"(?<=\d),(?=\d{3})")

# The questions that are asked of one document.
Group = tuple[Question, ...]


class NeedleTest(Suite[Cell]):
    """A model and a grid of questions. Making it loads no weights, and tells whether every question fits."""

    def __init__(self, settings: ReadSettings, grid: Grid) -> None:
        """Raises DocumentError where a book can't be read, UsageError where it is too short and DoesNotFitError
        where the model's window is."""
        self._grid, self._subject = grid, Subject(settings, grid.modes)
        books = open_books(grid, self._subject.tokenizer)
        self._groups = [group for book in books for group in make_groups(book, grid)]
        self._sheets = [self._sheet(group) for group in self._groups]
        head = self._subject.head(
            "needle",
            **asdict(grid) | {"depths": grid.depth_shares},
            template=",".join(grid.templates),
            haystack=",".join(book.name for book in books),
            haystack_sha256=",".join(book.sha256 for book in books),
            max_new_tokens=ANSWER_TOKENS,
        )
        super().__init__(Cell, head, grid.num_cells)

    @property
    def questions(self) -> list[Question]:
        return [question for group in self._groups for question in group]

    def rounds(self) -> Iterator[Round[Cell]]:
        """Document by document, mode beside mode."""
        for group, sheet in zip(self._groups, self._sheets, strict=True):
            for mode in self._grid.modes:

                def measure(
                    observer: Observer, group: Group = group, sheet: Sheet = sheet, mode: str = mode
                ) -> Iterator[Cell]:
                    replies = self._subject.replies(mode, sheet, ANSWER_TOKENS, observer)
                    for question, reply in zip(group, replies, strict=True):
                        yield _cell(mode, question, reply)

                yield Round(len(group), measure)

    def score(self) -> dict[str, Any]:
        return score(self.cells)

    def _sheet(self, group: Group) -> Sheet:
        questions = [question.question_ids for question in group]
        asked = [question.text for question in group]
        sought = [question.sentence for question in group]
        first = group[0]
        return self._subject.sheet(
            first.document_ids, questions, ANSWER_TOKENS, first.document, asked, sought
        )


def open_books(grid: Grid, tokenizer: Any) -> list[Haystack]:
    """The texts of the grid. Raises DocumentError."""
    return [Haystack.open(name, tokenizer) for name in grid.books]


def make_questions(haystack: Haystack, grid: Grid) -> Iterator[Question]:
    """Every question of the grid over one book, in the order they are asked in."""
    for group in make_groups(haystack, grid):
        yield from group


def make_groups(haystack: Haystack, grid: Grid) -> Iterator[Group]:
    """The prompts over one book, token for token what `lcdoc ask` makes of such a file and question.

    A group is asked of one document: a question alone, or with a shared reading those of all depths. There the
    templates take turns from depth to depth, so that needles are told apart by more than their keys.
    """
    shares, templates = grid.depth_shares, grid.templates
    for first, template in enumerate(templates):
        turns = [templates[(first + idx) % len(templates)] for idx in range(len(shares))]
        for length in grid.lengths:
            if grid.shared_reading:
                for seed in range(grid.seeds):
                    yield _group(haystack, turns, length, shares, seed)
            else:
                for depth in shares:
                    for seed in range(grid.seeds):
                        yield _group(haystack, [template], length, (depth,), seed)


def _group(
    haystack: Haystack, templates: list[str], length: int, depths: tuple[float, ...], seed: int
) -> Group:
    """templates, depths: a needle for each."""
    prompt = Prompt.from_tokenizer(haystack.tokenizer)
    needles: list[Needle] = []
    for template, depth in zip(templates, depths, strict=True):
        needles.append(draw_needle(template, f"{length} {depth} {seed}", needles))
    sentences = [(needle.sentence, depth) for needle, depth in zip(needles, depths, strict=True)]
    placed = haystack.place_all(sentences, length_tokens=length, seed=seed)
    document_ids = prompt.head_ids() + placed[0].tokens.token_ids
    return tuple(
        Question(
            length_tokens=length,
            depth=depth,
            seed=seed,
            template=template,
            book=haystack.name,
            key=needle.key,
            value=needle.value,
            document_tokens=len(place.tokens.token_ids),
            needle_depth=place.depth,
            document=place.document,
            text=needle.question,
            sentence=needle.sentence,
            document_ids=document_ids,
            question_ids=prompt.question_ids(needle.question, first=True),
        )
        for template, needle, depth, place in zip(templates, needles, depths, placed, strict=True)
    )


def is_right(answer: str, value: str) -> bool:
    """Whether the value occurs in the answer, as a number or word of its own; 1,234,567 is 1234567."""
    plain, edge = THOUSANDS_COMMA.sub("", answer), r"\d" if value.isdigit() else r"\w"
    return re.search(rf"(?<!{edge}){re.escape(value)}(?!{edge})", plain, re.IGNORECASE) is not None


def _cell(mode: str, question: Question, reply: Reply) -> Cell:
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
        prefill_s=round(reply.prefill_s, 3),
        answer=reply.text,
        right=is_right(reply.text, question.value),
        template=question.template,
        book=question.book,
        kv_bytes=reply.kv_bytes,
        seen=None if reply.seen is None else question.sentence in reply.seen,
    )
