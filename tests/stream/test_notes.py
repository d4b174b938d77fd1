"""Rolling notes, and how much of a stream a window has room for."""

from types import SimpleNamespace

import pytest

from lcdoc.errors import UsageError
from lcdoc.tasks.stream.notes import Note, Notes
from lcdoc.tasks.stream.sizes import fit_sizes


def by_words(text: str, **options: bool) -> SimpleNamespace:
    """As a tokenizer whose tokens are words."""
    return SimpleNamespace(input_ids=text.split())


def test_older_notes_are_condensed_and_none_is_lost_from_the_count() -> None:
    asked: list[str] = []

    def condense(text: str) -> str:
        asked.append(text)
        return "in short"

    notes = Notes(by_words, 12, condense)
    for number in range(5):
        note = notes.add(10 * number, 10 * number + 10, f"Boat {number} left at noon today.")
        assert note == Note(10 * number, 10 * number + 10, f"Boat {number} left at noon today.")
    assert notes.num_tokens <= 12 and len(asked) >= 2
    assert (notes.entries[0].start, notes.entries[-1].stop) == (0, 50)
    assert notes.entries[0].times >= 2 and "Boat 4 left" in notes.text
    for before, after in zip(notes.entries, notes.entries[1:], strict=False):
        assert before.stop == after.start


def test_what_the_notes_say_is_not_noted_again() -> None:
    notes = Notes(by_words, 100, lambda text: text)
    notes.add(0, 10, "The boat left. It was noon.")
    assert notes.add(10, 20, "The boat left.") is None
    added = notes.add(20, 30, "The boat left. Then it came back.")
    assert added is not None and added.text == "Then it came back."


def test_sizes_fit_small_and_large_windows() -> None:
    chosen = {"sink": None, "window": None, "keep": None, "chunk": 1024}
    large = fit_sizes(8192, 30, 60, 512, **chosen)
    assert (large.sink, large.keep, large.window, large.chunk) == (38, 1024, 2048, 512)
    small = fit_sizes(1024, 30, 60, 512, **chosen)
    assert small.capacity <= 1024 and small.window == 256
    with pytest.raises(UsageError, match="more than the model's window of 1,024"):
        fit_sizes(1024, 30, 60, 512, **chosen | {"window": 900})
