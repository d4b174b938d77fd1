"""The sentences that are hidden, and the questions that ask for them."""

import random
from collections.abc import Callable, Collection
from dataclasses import dataclass

from lcdoc.errors import UsageError

KEYS = (
    "copper", "harbour", "lantern", "orchard", "velvet", "compass", "granite", "meadow", "whistle",
    "saddle", "anchor", "feather", "marble", "thimble", "walnut", "beacon", "cobalt", "juniper",
    "parchment", "cinnamon",
)  # fmt: skip
# None of them occurs in a book that comes with lcdoc.
CITIES = (
    "Nairobi", "Helsinki", "Wellington", "Tbilisi", "Caracas", "Reykjavik", "Kampala", "Montreal", "Zagreb",
    "Jakarta", "Bogota", "Tallinn", "Accra", "Brisbane", "Hanoi", "Denver", "Yerevan", "Asuncion",
    "Seville", "Bergen",
)  # fmt: skip
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
NUMBERS = range(1_000_000, 10_000_000)


def draw_number(source: random.Random) -> str:
    """Seven digits."""
    return str(source.choice(NUMBERS))


def draw_city(source: random.Random) -> str:
    return source.choice(CITIES)


def draw_code(source: random.Random) -> str:
    """Three letters and four digits, such as "KXR-4821"."""
    return f"{''.join(source.choices(LETTERS, k=3))}-{source.randint(1000, 9999)}"


@dataclass(frozen=True)
class Template:
    """A sentence with {key} and {value}, a question with {key}, and what draws a value."""

    sentence: str
    question: str
    draw_value: Callable[[random.Random], str] = draw_number


@dataclass(frozen=True)
class Needle:
    """A sentence to hide, the question it answers, and the value that a right answer holds."""

    key: str
    value: str
    sentence: str
    question: str


TEMPLATES = {
    "magic": Template(
        "One of the special magic numbers for {key} is: {value}.",
        "What is the special magic number for {key}?",
    ),
    "locker": Template(
        "The code of the locker that is marked {key} is {value}.",
        "What is the code of the locker that is marked {key}?",
    ),
    "archive": Template(
        "The archive keeps its papers on {key} under the number {value}.",
        "Under which number does the archive keep its papers on {key}?",
    ),
    "festival": Template(
        "The yearly festival of the {key} takes place in the city of {value}.",
        "In which city does the yearly festival of the {key} take place?",
        draw_city,
    ),
    "password": Template(
        "The password of the {key} account is {value}.",
        "What is the password of the {key} account?",
        draw_code,
    ),
}


def draw_needle(template: str, seed: str, taken: Collection[Needle] = ()) -> Needle:
    """A needle with a random key and value, the same for the same seed, and neither of those taken."""
    source, form = random.Random(seed), TEMPLATES[template]
    key = _draw(lambda: source.choice(KEYS), {needle.key for needle in taken})
    value = _draw(lambda: form.draw_value(source), {needle.value for needle in taken})
    return Needle(key, value, form.sentence.format(key=key, value=value), form.question.format(key=key))


def _draw(draw: Callable[[], str], taken: Collection[str]) -> str:
    while (drawn := draw()) in taken:
        pass
    return drawn


def check_templates(names: Collection[str]) -> None:
    """Raises UsageError for a template that is none, or none at all."""
    unknown = [name for name in names if name not in TEMPLATES]
    if unknown or not names:
        named = repr(unknown[0]) if unknown else "none"
        raise UsageError(f"templates must be some of {', '.join(TEMPLATES)}, not {named}")
