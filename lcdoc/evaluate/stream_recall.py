"""Whether a fact that a stream told once is found again, long after it has left the window."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from lcdoc.config import ReadSettings, Sampling
from lcdoc.engine.model_shape import ModelShape
from lcdoc.errors import UsageError
from lcdoc.evaluate.haystack import Haystack, Placed
from lcdoc.evaluate.needle import is_right
from lcdoc.evaluate.subject import Subject
from lcdoc.evaluate.suite import Round, Suite
from lcdoc.evaluate.templates import Needle, check_templates, draw_needle
from lcdoc.fusion.heads import choose_heads
from lcdoc.tasks.plan import profile_for
from lcdoc.tasks.progress import Observer, Progress
from lcdoc.tasks.stream.opening import StreamWish, choose_sizes, make_stream

# Kept for the question; kept without knowing it; nothing kept but first and last tokens.
ASKED, BLIND, WINDOW = "asked", "blind", "window"
WAYS = (ASKED, BLIND, WINDOW)
# What stands before the fact.
LEAD_TOKENS = 400
ANSWER_TOKENS = 48
PIECE_BYTES = 1 << 12


@dataclass(frozen=True)
class Telling:
    """distance_tokens: from the fact to the question. Raises UsageError for a value that is not allowed."""

    distance_tokens: int
    seeds: int
    ways: tuple[str, ...]
    templates: tuple[str, ...]
    book: str
    keep_tokens: int | None = None

    def __post_init__(self) -> None:
        check_templates(self.templates)
        unknown = [way for way in self.ways if way not in WAYS]
        if unknown or not self.ways:
            raise UsageError(
                f"ways must be some of {', '.join(WAYS)}, not {repr(unknown[0]) if unknown else 'none'}"
            )
        for name, value in (("distance", self.distance_tokens), ("seeds", self.seeds)):
            if value < 1:
                raise UsageError(f"{name} must be 1 or more, not {value}")


@dataclass(frozen=True)
class RecallCell:
    """held: whether all of the fact was held when it was asked for. distance_tokens: as it came to be."""

    way: str
    seed: int
    template: str
    value: str
    distance_tokens: int
    held: bool
    answer: str
    right: bool


class RecallTest(Suite[RecallCell]):
    """The same facts told in every way. Making it loads no weights."""

    def __init__(self, settings: ReadSettings, telling: Telling) -> None:
        self._telling, self._settings = telling, settings
        self._subject = Subject(settings, ())
        self._book = Haystack.open(telling.book, self._subject.tokenizer)
        self._sampling = Sampling(max_new_tokens=ANSWER_TOKENS)
        self._book.check_length(telling.distance_tokens + LEAD_TOKENS)
        sizes = {way: asdict(self._sizes(way, "")) for way in telling.ways}
        for way in sizes:
            del sizes[way]["after"]
        head = self._subject.head(
            "stream",
            **asdict(telling),
            book_sha256=self._book.sha256,
            sizes=sizes,
            max_new_tokens=ANSWER_TOKENS,
        )
        super().__init__(RecallCell, head, telling.seeds * len(telling.ways))

    def rounds(self) -> Iterator[Round[RecallCell]]:
        """Fact by fact, way beside way."""
        telling = self._telling
        for seed in range(telling.seeds):
            template = telling.templates[seed % len(telling.templates)]
            for way in telling.ways:

                def measure(
                    observer: Observer, seed: int = seed, template: str = template, way: str = way
                ) -> Iterator[RecallCell]:
                    yield self._tell(way, seed, template, observer)

                yield Round(1, measure)

    def score(self) -> dict[str, Any]:
        """By way: facts found, held, and told."""
        ways = dict.fromkeys(cell.way for cell in self.cells)
        return {
            way: {
                "found": sum(cell.right for cell in self.cells if cell.way == way),
                "held": sum(cell.held for cell in self.cells if cell.way == way),
                "told": sum(cell.way == way for cell in self.cells),
            }
            for way in ways
        }

    def _tell(self, way: str, seed: int, template: str, observer: Observer) -> RecallCell:
        needle, placed = self._place(seed, template)
        model, tokenizer = self._subject.model, self._subject.tokenizer
        shape = ModelShape.from_config(model.config, 0, model.dtype)
        heads = choose_heads(profile_for(self._subject.settings, shape), shape.num_kv_heads, shape.windows)
        wish = self._wish(way, needle.question)
        stream = make_stream(
            model,
            tokenizer,
            heads,
            self._sizes(way, needle.question),
            wish,
            self._sampling,
            blind=way == BLIND,
        )
        stream.start()
        text = "\n\n".join(page.text for page in placed.document.pages)
        total = len(placed.tokens.token_ids)
        for piece in _pieces(text.encode()):
            stream.push(piece)
            stream.read(stream.waiting_tokens)
            observer(Progress("stream", min(stream.tokens_read, total), total, 0.0, 0, 0))
        stream.push(b"", final=True)
        stream.read(stream.waiting_tokens)
        answer = stream.tell("end").text
        held = stream.held()
        shown = " ".join(span.text for span in held.kept)
        return RecallCell(
            way=way,
            seed=seed,
            template=template,
            value=needle.value,
            distance_tokens=total - placed.needle_token,
            held=needle.value in shown,
            answer=answer,
            right=is_right(answer, needle.value),
        )

    def _place(self, seed: int, template: str) -> tuple[Needle, Placed]:
        telling = self._telling
        length = telling.distance_tokens + LEAD_TOKENS
        needle = draw_needle(template, f"stream {telling.distance_tokens} {seed}")
        depth = LEAD_TOKENS / length
        return needle, self._book.place(needle.sentence, length_tokens=length, depth=depth, seed=seed)

    def _wish(self, way: str, question: str) -> StreamWish:
        keep = 0 if way == WINDOW else self._telling.keep_tokens
        return StreamWish(question, keep, notes=False)

    def _sizes(self, way: str, question: str) -> Any:
        subject = self._subject
        wish = self._wish(way, question)
        return choose_sizes(subject.config, subject.tokenizer, self._settings, wish, self._sampling)


def _pieces(data: bytes) -> Iterator[bytes]:
    for start in range(0, len(data), PIECE_BYTES):
        yield data[start : start + PIECE_BYTES]
