"""The figures of a text: numbers, dates, percentages and amounts, however they are written."""

import re
from calendar import month_name
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

NUMBER = re.compile(
    r"(?<![\d.,])(?P<digits>\d{1,3}(?:[,\u00a0\u202f]\d{3}){1,12}(?:\.\d{1,40})?|\d{1,40}(?:\.\d{1,40})*)"
    r"(?:[\s-]?(?P<scale>thousand|million|billion|trillion|bn)\b)?",
    re.IGNORECASE,
)
SCALES = {"thousand": 3, "million": 6, "billion": 9, "bn": 9, "trillion": 12}
UNITS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
ORDINALS = [
    "zeroth",
    "first",
    "second",
    "third",
    "fourth",
    "fifth",
    "sixth",
    "seventh",
    "eighth",
    "ninth",
    "tenth",
    "eleventh",
    "twelfth",
    "thirteenth",
    "fourteenth",
    "fifteenth",
    "sixteenth",
    "seventeenth",
    "eighteenth",
    "nineteenth",
    "twentieth",
]
VALUES = {word: value for value, word in enumerate(UNITS)} | {
    word: 10 * tens for tens, word in enumerate(TENS, start=2)
}
MULTIPLES = {"hundred": 100} | {word: 10**power for word, power in SCALES.items()}
_NUMBER_WORD = "|".join([*VALUES, *MULTIPLES])
SPELLED = re.compile(
    rf"\b(?:{_NUMBER_WORD})(?:(?:\s+and\s+|[\s-]+)(?:{_NUMBER_WORD})){{0,11}}\b", re.IGNORECASE
)
ORDINAL = re.compile(rf"\b(?:{'|'.join(ORDINALS)})\b", re.IGNORECASE)
MONTHS = [name.lower() for name in month_name[1:]]
MONTH_NAMES = "|".join(f"{month[:3]}(?:{month[3:]}|\\.)?" if len(month) > 4 else month for month in MONTHS)
MONTH = re.compile(
    rf"\b(?:(?P<before>{MONTH_NAMES})(?=\s+\d)|(?<=\d\s)(?P<after>{MONTH_NAMES}))(?!\w)", re.IGNORECASE
)
ISO_DATE = re.compile(r"\b(\d{4})-(\d{2})-(\d{2})\b")
# Number words below are often counted by the writer ("these two"), and not the source's.
MIN_SPELLED = 13


@dataclass(frozen=True)
class Figure:
    """words: as written. value: the same for every way of writing it, such as "1234", "4200000" or "month 3"."""

    words: str
    value: str


def figures(text: str) -> list[Figure]:
    """Those that a statement has to answer for, in order of kind."""
    spelled = [figure for figure in _spelled(text) if Decimal(figure.value) >= MIN_SPELLED]
    return [*_dates(text), *_numbers(ISO_DATE.sub(" ", text)), *spelled]


def values(text: str) -> set[str]:
    """Every value that a source vouches for."""
    found = {figure.value for figure in (*_dates(text), *_numbers(text), *_spelled(text))}
    return found | {str(ORDINALS.index(match[0].lower())) for match in ORDINAL.finditer(text)}


def _numbers(text: str) -> Iterator[Figure]:
    for match in NUMBER.finditer(text):
        digits = re.sub(r"[,\u00a0\u202f]", "", match["digits"])
        if digits.count(".") > 1:
            yield Figure(match[0], digits)
            continue
        value = Decimal(digits)
        if match["scale"]:
            value = value.scaleb(SCALES[match["scale"].lower()])
        yield Figure(match[0], _plain(value))


def _spelled(text: str) -> Iterator[Figure]:
    for match in SPELLED.finditer(text):
        total = part = 0
        for word in re.findall(r"[a-z]+", match[0].lower()):
            if word in VALUES:
                part += VALUES[word]
            elif word == "hundred":
                part = max(part, 1) * 100
            elif word != "and":
                total, part = total + max(part, 1) * MULTIPLES[word], 0
        yield Figure(match[0], str(total + part))


def _dates(text: str) -> Iterator[Figure]:
    for match in MONTH.finditer(text):
        name = (match["before"] or match["after"]).lower()[:3]
        yield Figure(match[0], f"month {[month[:3] for month in MONTHS].index(name) + 1}")
    for match in ISO_DATE.finditer(text):
        year, month, day = map(int, match.groups())
        yield from (Figure(match[0], value) for value in (str(year), f"month {month}", str(day)))


def _plain(value: Decimal) -> str:
    """Without zeros that say nothing: 4.20 and 4.2, 1E+3 and 1000."""
    text = f"{value:f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.lstrip("0") or "0" if not text.startswith("0.") else text
