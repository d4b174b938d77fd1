"""Which stretches of the documents a summary speaks of, and which it doesn't."""

from collections.abc import Sequence

from lcdoc.fusion.lexical import words_of
from lcdoc.tasks.summarize.part import Part, place_of
from lcdoc.tasks.summarize.sentences import rare_words
from lcdoc.tasks.summarize.summary import Coverage, Section

# A section that shares so many rare words with a stretch speaks of it.
SHARED_RARE_WORDS = 3
RARE_SHARE = 0.2


def check_coverage(parts: Sequence[Part], sections: Sequence[Section]) -> Coverage:
    """parts: stretches that together are all that was read."""
    texts = [part.text for part in parts]
    rare = rare_words(texts, max(1.0, RARE_SHARE * len(texts)))
    spoken_of = [
        _is_represented(part, set(words_of(text)) & rare, sections)
        for part, text in zip(parts, texts, strict=True)
    ]
    tokens = sum(part.num_tokens for part, said in zip(parts, spoken_of, strict=True) if said)
    return Coverage(
        stretches=len(parts),
        represented=sum(spoken_of),
        share_of_tokens=tokens / sum(part.num_tokens for part in parts),
        missing=tuple(place_of([part]) for part, said in zip(parts, spoken_of, strict=True) if not said),
    )


def _is_represented(part: Part, rare: set[str], sections: Sequence[Section]) -> bool:
    place = place_of([part])
    text = " ".join(part.text.split())
    for section in sections:
        if section.source != place.source:
            continue
        if section.last_page < place.first_page or section.first_page > place.last_page:
            continue
        if any(evidence.quote in text for evidence in section.evidence):
            return True
        if len(set(words_of(section.text)) & rare) >= min(SHARED_RARE_WORDS, max(1, len(rare))):
            return True
    return False
