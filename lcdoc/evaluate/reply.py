"""An answer to a question of a test, and what it took."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Reply:
    """What a question came to. prefill_s: until the answer began, for the first question with the reading of the
    document. kv_bytes: keys and values held when it began. seen: what stood before the model then, in modes that
    choose it; None for the whole document."""

    text: str
    prefill_s: float
    kv_bytes: int
    seen: str | None = None
