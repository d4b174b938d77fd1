"""Needles in a text: one, one among others, several of one key, several keys at once, or nothing but needles."""

from itertools import islice

from lcdoc.evaluate.ruler.drawn import Drawn, Wanted, listed
from lcdoc.evaluate.ruler.fit import fit
from lcdoc.evaluate.ruler.words import made_up_words
from lcdoc.evaluate.templates import NUMBERS, TEMPLATES, Needle, draw_needle
from lcdoc.tokens import TokenizedDocument

NUM_NEEDLES = 4
MAGIC = TEMPLATES["magic"]


def draw_single(wanted: Wanted) -> Drawn:
    """One needle."""
    [needle] = _needles(wanted, 1)
    return _hidden(wanted, [needle], needle.question, [needle])


def draw_multikey(wanted: Wanted) -> Drawn:
    """One needle is asked for; those of other keys distract from it."""
    needles = _needles(wanted, NUM_NEEDLES)
    return _hidden(wanted, needles, needles[0].question, needles[:1])


def draw_multivalue(wanted: Wanted) -> Drawn:
    """Several needles of one key; all of their values are asked for."""
    needles = _needles(wanted, NUM_NEEDLES)
    key = needles[0].key
    question = f"Which special magic numbers are given for {key}? Name every one of them."
    alike = [
        Needle(key, needle.value, MAGIC.sentence.format(key=key, value=needle.value), question)
        for needle in needles
    ]
    return _hidden(wanted, alike, question, alike)


def draw_multiquery(wanted: Wanted) -> Drawn:
    """Several needles, all of whose keys are asked for at once."""
    needles = _needles(wanted, NUM_NEEDLES)
    keys = listed([needle.key for needle in needles])
    return _hidden(wanted, needles, f"What are the special magic numbers for {keys}? Name each one.", needles)


def draw_stack(wanted: Wanted) -> Drawn:
    """The whole text is needles, each with a key of its own, and one is asked for."""

    def needles(num_needles: int) -> list[tuple[str, str]]:
        source = wanted.source()
        values = source.sample(NUMBERS, num_needles)
        return list(zip(islice(made_up_words(source), num_needles), map(str, values), strict=True))

    def text(num_needles: int) -> str:
        return " ".join(MAGIC.sentence.format(key=key, value=value) for key, value in needles(num_needles))

    tokenizer, length = wanted.haystack.tokenizer, wanted.length_tokens
    num_needles, tokens = fit(text, tokenizer, length, fewest=1, name="stack")
    key, value = wanted.source().choice(needles(num_needles))
    return Drawn(tokens, MAGIC.question.format(key=key), (value,))


def _needles(wanted: Wanted, num_needles: int) -> list[Needle]:
    needles: list[Needle] = []
    for idx in range(num_needles):
        needles.append(draw_needle("magic", f"{wanted.seed} {idx}", needles))
    return needles


def _hidden(wanted: Wanted, needles: list[Needle], question: str, asked: list[Needle]) -> Drawn:
    """The needles in any order, at random depths of a random stretch of the book."""
    sentences = [needle.sentence for needle in needles]
    wanted.source().shuffle(sentences)
    tokens = hide(wanted, sentences)
    return Drawn(tokens, question, tuple(needle.value for needle in asked))


def hide(wanted: Wanted, sentences: list[str]) -> TokenizedDocument:
    """A stretch of the book with the sentences in it, in their order, at random depths."""
    source = wanted.source()
    depths = sorted(source.random() for _ in sentences)
    placed = wanted.haystack.place_all(
        list(zip(sentences, depths, strict=True)),
        length_tokens=wanted.length_tokens,
        seed=source.randrange(2**32),
    )
    return placed[0].tokens
