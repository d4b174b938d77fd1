"""The cells of a needle test: what is asked for, what is read, and what came of it."""

from dataclasses import dataclass

from lcdoc.documents.document import Document
from lcdoc.errors import UsageError
from lcdoc.evaluate.haystack import BOOKS
from lcdoc.evaluate.modes import STOCK, check_modes
from lcdoc.evaluate.templates import CITIES, KEYS, check_templates
from lcdoc.evaluate.whole import NEAR, NEEDLE_MODES

# So many needles differ in key and value, whatever the template.
MOST_IN_ONE_READING = min(len(KEYS), len(CITIES))


@dataclass(frozen=True)
class Grid:
    """Every length is read at every depth, with every seed, template and book, in every mode.

    lengths: tokens of each document. depths: how many, evenly from start to end. seeds: how many, from 0.
    books: names of shipped ones, or files. shared_reading: the needles of all depths are hidden in one document,
    which is read once and asked for each of them; that is harder than a needle alone. Raises UsageError for a value
    that is not allowed.
    """

    lengths: tuple[int, ...] = (1000, 4000, 7000)
    depths: int = 5
    seeds: int = 2
    modes: tuple[str, ...] = ("exact", STOCK)
    templates: tuple[str, ...] = ("magic",)
    books: tuple[str, ...] = BOOKS[:1]
    shared_reading: bool = False

    def __post_init__(self) -> None:
        check_modes(self.modes, NEEDLE_MODES)
        check_templates(self.templates)
        sizes = {"lengths": min(self.lengths, default=0), "depths": self.depths, "seeds": self.seeds}
        for name, value in sizes.items():
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")
        if self.shared_reading and self.depths > MOST_IN_ONE_READING:
            raise UsageError(
                f"a shared reading has room for {MOST_IN_ONE_READING} depths, not {self.depths}; "
                f"choose fewer --depths"
            )

    @property
    def depth_shares(self) -> tuple[float, ...]:
        """From 0, the start, to 1, the end; a single one is the middle."""
        if self.depths == 1:
            return (0.5,)
        return tuple(idx / (self.depths - 1) for idx in range(self.depths))

    @property
    def num_cells(self) -> int:
        texts = len(self.lengths) * self.seeds * len(self.templates) * len(self.books)
        return texts * self.depths * len(self.modes)


@dataclass(frozen=True)
class Question:
    """One needle in one haystack, the same for every mode.

    length_tokens, depth: as asked for; document_tokens, needle_depth: as the borders of sentences allowed.
    document, text: what is read and asked. sentence: what was hidden. document_ids: all that is read before the
    question. question_ids: the question, up to its answer.
    """

    length_tokens: int
    depth: float
    seed: int
    template: str
    book: str
    key: str
    value: str
    document_tokens: int
    needle_depth: float
    document: Document
    text: str
    sentence: str
    document_ids: list[int]
    question_ids: list[int]

    @property
    def prompt_tokens(self) -> int:
        return len(self.document_ids) + len(self.question_ids)


@dataclass(frozen=True)
class Cell:
    """One question read in one mode.

    prefill_s: until the answer began; of a shared reading, the first question's alone holds the document's part.
    kv_bytes: keys and values held when it began. seen: in modes that choose what stands before the model as it answers,
    whether the needle did; else None.
    """

    mode: str
    length_tokens: int
    depth: float
    seed: int
    key: str
    value: str
    prompt_tokens: int
    document_tokens: int
    needle_depth: float
    prefill_s: float
    answer: str
    right: bool
    template: str
    book: str
    kv_bytes: int
    seen: bool | None = None


def score(cells: list[Cell]) -> dict[str, dict[str, dict[str, int]]]:
    """By mode and length: cells read, cells right, and cells answered to the letter as stock did; where what stands
    around the needle was read alone, also how many are right so, and of these, here."""
    near = {_place(cell): cell.right for cell in cells if cell.mode == NEAR}
    stock = {_place(cell): cell.answer for cell in cells if cell.mode == STOCK}
    totals: dict[str, dict[str, dict[str, int]]] = {}
    for cell in cells:
        empty = {"cells": 0, "right": 0, "same_as_stock": 0}
        total = totals.setdefault(cell.mode, {}).setdefault(str(cell.length_tokens), empty)
        total["cells"] += 1
        total["right"] += cell.right
        total["same_as_stock"] += stock.get(_place(cell)) == cell.answer
        if _place(cell) in near:
            total["right_near"] = total.get("right_near", 0) + near[_place(cell)]
            total["right_in_both"] = total.get("right_in_both", 0) + (cell.right and near[_place(cell)])
    return totals


def _place(cell: Cell) -> tuple[int, float, int, str, str]:
    return cell.length_tokens, cell.depth, cell.seed, cell.template, cell.book
