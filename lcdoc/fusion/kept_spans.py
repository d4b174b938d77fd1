"""The spans whose keys and values are kept while the parts of a document are read, one after the other."""

from collections.abc import Sequence

from lcdoc.engine.rope import Rotation
from lcdoc.fusion.excerpt import choose
from lcdoc.fusion.joint_tokens import JointTokens, ReadTokens
from lcdoc.fusion.part_reader import ReadPart
from lcdoc.fusion.ranking import fuse
from lcdoc.fusion.spans import Span


class KeptSpans:
    """For one question: those that rank highest among all that were read so far."""

    def __init__(
        self, spans: Sequence[Span], words: Sequence[float], max_tokens: int, rotation: Rotation
    ) -> None:
        """spans: of the whole document, and what each has of the question's words. max_tokens: kept at any time.
        rotation: that of the model which reads the parts."""
        self._spans, self._words, self._max_tokens = spans, words, max_tokens
        self._rotation = rotation
        self._head: ReadTokens | None = None
        self._kept: dict[int, ReadTokens] = {}

    def __contains__(self, span: Span) -> bool:
        return span.start in self._kept

    def update(self, attention: Sequence[float], part: ReadPart, first: int) -> None:
        """attention: what was paid to each span so far, those of the last part among them, which begins with the token
        `first` of the document. Raises AllocationFailed where memory is refused; the same may then be tried again."""
        self._head = self._head or part.head()
        num_read = len(attention)
        scores = fuse(attention, self._words[:num_read])
        best = choose(self._spans[:num_read], scores, self._max_tokens)
        self._kept = {span.start: self._kept[span.start] for span in best if span.start in self._kept}
        for span in best:
            if span.start >= first:
                self._kept[span.start] = part.tokens(span.start - first, span.stop - first)

    def joint(self, chosen: Sequence[Span]) -> JointTokens:
        """What was chosen of them, in order, after what stands before every part."""
        assert self._head is not None
        spans = sorted(chosen, key=lambda span: span.start)
        return JointTokens([self._head, *(self._kept[span.start] for span in spans)], self._rotation)

    @property
    def nbytes(self) -> int:
        return sum(tokens.nbytes for tokens in self._kept.values())
