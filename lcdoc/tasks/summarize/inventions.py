"""Sentences that name people, places or numbers which their source does not: small models make them up."""

from dataclasses import replace

from lcdoc.fusion.lexical import words_of
from lcdoc.tasks.summarize.draft import BULLET, Draft
from lcdoc.tasks.summarize.sentences import cut_sentences

# Where more of the words within sentences begin with a capital, as in German, capitals tell no names.
NAMES_SHARE = 0.25


def without_inventions(draft: Draft, source: str) -> Draft:
    """The draft without sentences that name what the source doesn't. source: all that the model was shown."""
    known = set(words_of(source))
    inner = [word for sentence in cut_sentences(source) for word in sentence.split()[1:]]
    capitals = sum(word[0].isupper() for word in inner)
    tells_names = capitals <= NAMES_SHARE * len(inner)
    lines, invented = [], 0
    for line in draft.text.splitlines():
        sentences = cut_sentences(line)
        kept = [sentence for sentence in sentences if _named(sentence, tells_names) <= known]
        invented += len(sentences) - len(kept)
        if kept or not sentences:
            lines.append(" ".join(kept))
    if not invented:
        return draft
    return replace(draft, text="\n".join(lines).strip(), invented=draft.invented + invented)


def _named(sentence: str, tells_names: bool) -> set[str]:
    """Its numbers, and words with a capital that do not begin it."""
    named: set[str] = set()
    for index, word in enumerate(BULLET.sub("", sentence).split()):
        bare = word.strip("\"'(\u2018\u2019\u201c\u201d")
        has_number = any(letter.isdecimal() for letter in bare)
        if has_number or (tells_names and index and len(bare) > 1 and bare[0].isupper()):
            named |= {piece for piece in words_of(bare) if len(piece) > 1 or piece.isdecimal()}
    return named
