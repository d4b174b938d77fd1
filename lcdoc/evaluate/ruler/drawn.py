"""One text of a task, and what is asked of it."""

import random
from collections.abc import Callable
from dataclasses import dataclass

from lcdoc.documents.document import Document
from lcdoc.evaluate.haystack import Haystack
from lcdoc.tokens import TokenizedDocument


@dataclass(frozen=True)
class Wanted:
    """What a task is to draw. length_tokens: the most that the text may have. seed: the same draws the same."""

    haystack: Haystack
    length_tokens: int
    seed: str

    def source(self) -> random.Random:
        """Fresh each time, so that a text can be drawn again at another size."""
        return random.Random(self.seed)


@dataclass(frozen=True)
class Drawn:
    """tokens: the text, as `lcdoc ask` tokenises it. answers: all that a right answer holds, or with
    one_is_enough those of which it holds one."""

    tokens: TokenizedDocument
    question: str
    answers: tuple[str, ...]
    one_is_enough: bool = False

    @property
    def token_ids(self) -> list[int]:
        return self.tokens.token_ids

    @property
    def document(self) -> Document:
        return self.tokens.spans[0].document

    def score(self, answer: str) -> float:
        """The share of the answers that stand in this one, in any case; as the paper has it, anywhere in it."""
        found = [right.lower() in answer.lower() for right in self.answers]
        return float(any(found)) if self.one_is_enough else sum(found) / len(found)


Draw = Callable[[Wanted], Drawn]


def listed(names: list[str]) -> str:
    """ "a, b and c"."""
    return f"{', '.join(names[:-1])} and {names[-1]}" if len(names) > 1 else names[0]
