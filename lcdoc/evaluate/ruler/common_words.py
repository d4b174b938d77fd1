"""Common words extraction: a numbered list of words, and which are in it most often."""

from lcdoc.evaluate.ruler.drawn import Drawn, Wanted
from lcdoc.evaluate.ruler.fit import fit
from lcdoc.evaluate.ruler.words import real_words

NUM_COMMON = 10
# How often a common word stands in the list, and a rare one; less often in texts that are too short for it.
REPEATS, SHORT_REPEATS = (30, 3), (10, 1)
SHORT_TOKENS = 4_000


def draw_common(wanted: Wanted) -> Drawn:
    """The words come from the book; the longer the list, the more of them are rare."""
    words = real_words(wanted.haystack.text)
    wanted.source().shuffle(words)
    joined = " ".join(words)
    # An answer is looked for anywhere in what is said, so that none may be part of another word.
    common = [word for word in words if joined.count(word) == 1][:NUM_COMMON]
    rare = [word for word in words if word not in common]
    often, seldom = SHORT_REPEATS if wanted.length_tokens < SHORT_TOKENS else REPEATS

    def text(num_rare: int) -> str:
        listed = common * often + rare[:num_rare] * seldom
        wanted.source().shuffle(listed)
        return "\n".join(f"{number}. {word}" for number, word in enumerate(listed, start=1))

    tokenizer, length = wanted.haystack.tokenizer, wanted.length_tokens
    _, tokens = fit(text, tokenizer, length, fewest=1, most=len(rare), name="common")
    question = f"Which {NUM_COMMON} words are the most frequent in this list? Name each once."
    return Drawn(tokens, question, tuple(common))
