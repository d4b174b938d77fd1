"""The sentences that are hidden, and the questions that ask for them."""

import random
from dataclasses import dataclass

from lcdoc.errors import UsageError

KEYS = (
    "copper", "harbour", "lantern", "orchard", "velvet", "compass", "granite", "meadow", "whistle",
    "saddle", "anchor", "feather", "marble", "thimble", "walnut", "beacon", "cobalt", "juniper",
    "parchment", "cinnamon",
)  # fmt: skip
VALUES = range(1_000_000, 10_000_000)


@dataclass(frozen=True)
class Template:
    """A sentence with {key} and {value}, and a question with {key}."""

    sentence: str
    question: str


@dataclass(frozen=True)
class Needle:
    """A sentence to hide, the question it answers, and the digits that a right answer holds."""

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
}


def draw_needle(template: str, seed: str) -> Needle:
    """A needle with a random key and seven random digits, the same for the same seed."""
    source, form = random.Random(seed), TEMPLATES[template]
    key, value = source.choice(KEYS), str(source.choice(VALUES))
    return Needle(key, value, form.sentence.format(key=key, value=value), form.question.format(key=key))


def check_template(name: str) -> None:
    """Raises UsageError for a template that is none."""
    if name not in TEMPLATES:
        raise UsageError(f"template must be one of {', '.join(TEMPLATES)}, not {name!r}")
