"""Texts made of units, as many as a length in tokens has room for."""

from collections.abc import Callable
from typing import Any

from lcdoc.documents.text import text_document
from lcdoc.errors import UsageError
from lcdoc.tokens import TokenizedDocument, tokenize


def encode(text: str, tokenizer: Any) -> TokenizedDocument:
    """A text, as `lcdoc ask` reads such a file."""
    return tokenize(tokenizer, [text_document(text, "text", "text", ())])


def fit(
    make: Callable[[int], str],
    tokenizer: Any,
    length_tokens: int,
    *,
    fewest: int,
    most: int | None = None,
    name: str,
) -> tuple[int, TokenizedDocument]:
    """The number of units whose text fills the length and never passes it, and that text.

    make: the text of so many units. fewest: units that a text must have. most: units there are. name: of the task.
    Raises UsageError where the length has no room for the fewest, or there are too few.
    """
    low, high = fewest, max(fewest, length_tokens if most is None else most) + 1
    fitting = encode(make(low), tokenizer)
    num_tokens = len(fitting.token_ids)
    if num_tokens > length_tokens:
        raise UsageError(
            f"{name} takes {num_tokens:,} tokens at the least, more than the {length_tokens:,} of --lengths; choose "
            f"longer ones, or leave {name} out of --tasks"
        )
    unit_tokens = num_tokens / max(low, 1)
    # A search by halves, but for where it looks: what a unit takes says nearly where the length is reached.
    while high - low > 1:
        more = int((length_tokens - num_tokens) / unit_tokens)
        middle = min(low + max(more, 1), high - 1)
        tokens = encode(make(middle), tokenizer)
        unit_tokens = max((len(tokens.token_ids) - num_tokens) / (middle - low), 1)
        if len(tokens.token_ids) <= length_tokens:
            low, fitting, num_tokens = middle, tokens, len(tokens.token_ids)
        else:
            high = middle
    if low == most:
        raise UsageError(
            f"{name} has only enough for {num_tokens:,} tokens, fewer than the {length_tokens:,} of --lengths; "
            f"choose shorter ones, or longer texts with --haystack and --qa"
        )
    return low, fitting
