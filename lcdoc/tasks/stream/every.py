"""When a digest is due: after so many tokens, so many lines, or so much time."""

import re
from dataclasses import dataclass

from lcdoc.errors import UsageError

PATTERN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
SECONDS = {"s": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
TOKENS, LINES, TIME = "tokens", "lines", "seconds"


@dataclass(frozen=True)
class Every:
    """unit: TOKENS, LINES or TIME, of which `amount` are counted since the last digest."""

    amount: float
    unit: str

    @classmethod
    def of(cls, text: str) -> "Every":
        """ "2000tokens", "2000 tokens", "50 lines", "90s", "5m", "1 hour". Raises UsageError."""
        match = PATTERN.fullmatch(text.strip())
        number, word = (match[1], match[2].lower()) if match else ("0", "")
        word = word if len(word) == 1 else word.removesuffix("s")
        if word in SECONDS and float(number) > 0:
            return cls(float(number) * SECONDS[word], TIME)
        if word in ("token", "line") and number.isdecimal() and int(number) > 0:
            return cls(int(number), f"{word}s")
        raise UsageError(
            f"--every must be a number of tokens, lines, seconds, minutes or hours, such as 2000tokens, 50lines or 5m, "
            f"not {text!r}"
        )
