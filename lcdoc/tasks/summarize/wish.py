"""What summary is wished for: how long, in what style, about what, and how it is made of the parts."""

from dataclasses import dataclass

from lcdoc.errors import UsageError

LENGTHS = {"short": 100, "medium": 300, "long": 800}
STYLES = ("prose", "bullets", "chapters")
METHODS = ("hierarchical", "incremental")
MAX_WORDS = 20_000
MAX_FOCUS_CHARS = 500

# Words of a paragraph, a point, a chapter's summary.
SECTION_WORDS = {"prose": 75, "bullets": 25, "chapters": 75}
LEAST_CHAPTER_WORDS = 25


@dataclass(frozen=True)
class Wish:
    """length: "short", "medium", "long", or a number of words. focus: what it should be about, or None. part_tokens:
    the most of the document in a part; None leaves that to the model's window. Raises UsageError."""

    length: str = "medium"
    style: str = "prose"
    focus: str | None = None
    method: str = "hierarchical"
    part_tokens: int | None = None

    def __post_init__(self) -> None:
        if self.length not in LENGTHS and not (
            self.length.isascii() and self.length.isdecimal() and 0 < int(self.length) <= MAX_WORDS
        ):
            raise UsageError(
                f"length must be short, medium, long or a number of words from 1 to {MAX_WORDS:,}, "
                f"not {self.length!r}"
            )
        for name, value, allowed in (("style", self.style, STYLES), ("method", self.method, METHODS)):
            if value not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
        if self.focus is not None and not self.focus.strip():
            raise UsageError("focus is empty; name what the summary should be about, or leave it out")
        if self.focus is not None and len(self.focus) > MAX_FOCUS_CHARS:
            raise UsageError(
                f"focus has {len(self.focus):,} characters, more than {MAX_FOCUS_CHARS}; shorten it"
            )
        if self.part_tokens is not None and self.part_tokens < 1:
            raise UsageError(f"part_tokens must be 1 or more, not {self.part_tokens}")

    @property
    def words(self) -> int:
        """Of the whole summary."""
        return LENGTHS.get(self.length) or int(self.length)

    @property
    def num_sections(self) -> int:
        """Paragraphs or points that it should have."""
        return max(1, round(self.words / SECTION_WORDS[self.style]))
