"""Questions over given documents: the text with the answer among passages of others."""

import random
from functools import cached_property
from pathlib import Path

from lcdoc.documents.passages import cut_passages
from lcdoc.errors import UsageError
from lcdoc.evaluate.items import Item, load_items
from lcdoc.evaluate.ruler.drawn import Drawn, Wanted
from lcdoc.evaluate.ruler.fit import encode, fit

# Whose answers are looked for in what is said.
METRICS = ("f1", "contains")
PASSAGE_CHARS = 1_000


class Passages:
    """The questions of a file. Raises DocumentError where it can't be read, UsageError where none is of a kind whose
    answers can be looked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.items = [item for item in load_items(path) if item.metric in METRICS]
        if not self.items:
            raise UsageError(
                f"{path}: no question has the metric {' or '.join(METRICS)}; give others with --qa"
            )

    def draw(self, wanted: Wanted) -> Drawn:
        """A question whose text fits, that text whole, and passages of the others before and after it."""
        item = self._choose(wanted)
        source = wanted.source()
        others = [
            passage for text, passages in self._cut.items() if text != item.context for passage in passages
        ]
        source.shuffle(others)
        place = source.random()

        def text(num_others: int) -> str:
            before = round(place * num_others)
            return "\n\n".join([*others[:before], item.context, *others[before:num_others]])

        tokenizer, length = wanted.haystack.tokenizer, wanted.length_tokens
        _, tokens = fit(text, tokenizer, length, fewest=0, most=len(others), name="qa")
        return Drawn(tokens, item.question, item.answers, one_is_enough=True)

    def _choose(self, wanted: Wanted) -> Item:
        items = random.Random(wanted.seed).sample(self.items, len(self.items))
        for item in items:
            if len(encode(item.context, wanted.haystack.tokenizer).token_ids) <= wanted.length_tokens:
                return item
        raise UsageError(
            f"{self._path}: no question has a text of {wanted.length_tokens:,} tokens or fewer; choose longer --lengths"
        )

    @cached_property
    def _cut(self) -> dict[str, list[str]]:
        """By text, its passages."""
        texts = dict.fromkeys(item.context for item in self.items)
        return {text: [piece.strip() for piece in cut_passages(text, PASSAGE_CHARS)] for text in texts}
