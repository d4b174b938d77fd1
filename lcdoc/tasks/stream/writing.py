"""Having the model write after what it holds, with nothing of it left behind."""

from collections.abc import Callable, Collection, Sequence

import torch

from lcdoc.engine.reader import Reader
from lcdoc.tokens import TextStream


def write(
    reader: Reader,
    request_ids: Sequence[int],
    tokenizer: object,
    stop_ids: Collection[int],
    max_tokens: int,
    pick: Callable[[torch.Tensor], int],
    until: Callable[[str], bool] = lambda text: False,
) -> tuple[str, bool]:
    """The text, and whether it was cut at max_tokens. until: hears the text so far, and tells whether that is
    enough."""
    stream, pieces, count = TextStream(tokenizer), [], 0
    mark = reader.mark() if reader.logits is not None else None
    try:
        reader.prefill(request_ids)
        for token_id in reader.decode(pick, stop_ids, max_tokens):
            count += 1
            if piece := stream.push(token_id):
                pieces.append(piece)
                if until("".join(pieces)):
                    return "".join(pieces), False
    finally:
        if mark is not None:
            reader.rewind(mark)
    return "".join(pieces).strip(), count == max_tokens
