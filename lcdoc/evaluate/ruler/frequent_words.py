"""Frequent words extraction: made-up words drawn by a zeta distribution, and which are the most frequent."""

from itertools import count, islice, takewhile

from lcdoc.evaluate.ruler.drawn import Drawn, Wanted
from lcdoc.evaluate.ruler.fit import fit
from lcdoc.evaluate.ruler.words import made_up_words

ALPHA = 2.0
ZETA = 1.6449340668482264  # of ALPHA
NOISE = "..."
NUM_FREQUENT = 3
# From here on the third word is more frequent than the one after it.
FEWEST_WORDS = 100


def draw_frequent(wanted: Wanted) -> Drawn:
    """The most frequent of all is noise, as in the paper; the three after it are asked for."""
    words = list(islice(made_up_words(wanted.source()), NUM_FREQUENT))

    def text(num_words: int) -> str:
        times = counts(num_words)
        names = [NOISE, *islice(made_up_words(wanted.source()), len(times) - 1)]
        drawn = [name for name, often in zip(names, times, strict=True) for _ in range(often)]
        wanted.source().shuffle(drawn)
        return " ".join(drawn)

    tokenizer, length = wanted.haystack.tokenizer, wanted.length_tokens
    _, tokens = fit(text, tokenizer, length, fewest=FEWEST_WORDS, name="frequent")
    question = f"Which {NUM_FREQUENT} made-up words are the most frequent in this text? Leave the dots out."
    return Drawn(tokens, question, tuple(words))


def counts(num_words: int) -> list[int]:
    """How often the word of each rank, from the first, stands in a text of about so many words."""
    return list(takewhile(bool, (round(num_words * rank**-ALPHA / ZETA) for rank in count(1))))
