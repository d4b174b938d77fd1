"""Variable tracking: chains of assignments in a text, and who in the end holds a value."""

import random
from string import ascii_uppercase

from lcdoc.evaluate.ruler.drawn import Drawn, Wanted
from lcdoc.evaluate.ruler.needles import hide

NUM_CHAINS = 2
NUM_HOPS = 4
NAME_LETTERS = 5
VALUES = range(10_000, 100_000)


def draw_variables(wanted: Wanted) -> Drawn:
    """Some chains, of which one is asked for: all the variables with its value, however they came to it."""
    source = wanted.source()
    values = [str(value) for value in source.sample(VALUES, NUM_CHAINS)]
    names = _names(source, NUM_CHAINS * (NUM_HOPS + 1))
    chains = [names[idx::NUM_CHAINS] for idx in range(NUM_CHAINS)]
    lines = [_assignments(chain, value) for chain, value in zip(chains, values, strict=True)]
    # Each chain keeps its order, however the chains are mixed.
    turns = [idx for idx, chain in enumerate(lines) for _ in chain]
    source.shuffle(turns)
    tokens = hide(wanted, [lines[idx].pop(0) for idx in turns])
    question = (
        f"Which variables (VAR) have the value {values[0]}, directly or through others? Name all of them."
    )
    return Drawn(tokens, question, tuple(chains[0]))


def _assignments(names: list[str], value: str) -> list[str]:
    sources = [value, *names[:-1]]
    return [f"VAR {name} = {given}." for name, given in zip(names, sources, strict=True)]


def _names(source: random.Random, num_names: int) -> list[str]:
    """All different."""
    names: dict[str, None] = {}
    while len(names) < num_names:
        names["".join(source.choices(ascii_uppercase, k=NAME_LETTERS))] = None
    return list(names)
