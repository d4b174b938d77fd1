"""Bytes as they come become text, whatever the places at which they are cut."""

import random

import pytest

from lcdoc.errors import UsageError
from lcdoc.tasks.stream.every import Every
from lcdoc.tasks.stream.intake import MOST_CHARS, Intake

TEXT = "\ufeffAnna: größer — 日本語\r\nZweite Zeile\n\n" + "wort " * 2000 + "\nzuletzt 🙂 ende"


def text_of(pieces: list[object]) -> str:
    return "".join(piece.text for piece in pieces)  # type: ignore[attr-defined]


@pytest.mark.parametrize("size", [1, 2, 3, 7, 4096])
def test_characters_cut_between_pieces_are_whole(size: int) -> None:
    data, intake = TEXT.encode(), Intake()
    pieces = []
    for start in range(0, len(data), size):
        pieces += intake.push(data[start : start + size])
    pieces += intake.push(b"", final=True)
    assert text_of(pieces).split() == TEXT.lstrip("\ufeff").split()
    assert sum(piece.lines for piece in pieces) == TEXT.count("\n")
    assert intake.num_replaced == 0
    assert max(len(piece.text) for piece in pieces) <= MOST_CHARS or size == 4096


def test_a_line_waits_for_its_end_and_a_word_for_its_own() -> None:
    intake = Intake()
    assert text_of(intake.push(b"one\ntwo thr")) == "one\n"
    assert text_of(intake.rest(words=True)) == "two"
    assert text_of(intake.rest(words=True)) == ""
    intake.push(b"ee four")
    assert text_of(intake.rest(words=True)) == " three"
    assert text_of(intake.rest(words=False)) == " four"


def test_what_is_not_utf8_is_counted() -> None:
    intake = Intake()
    assert text_of(intake.push(b"caf\xe9 au lait\n")) == "caf\ufffd au lait\n"
    assert intake.num_replaced == 1


def test_its_state_goes_on_elsewhere() -> None:
    data, chance = TEXT.encode(), random.Random(3)
    for _ in range(20):
        cut = chance.randrange(len(data))
        first, second = Intake(), Intake()
        pieces = first.push(data[:cut])
        second.restore(first.state)
        pieces += second.push(data[cut:], final=True)
        assert text_of(pieces).split() == TEXT.lstrip("\ufeff").split()


@pytest.mark.parametrize(
    ("text", "every"),
    [
        ("2000tokens", Every(2000, "tokens")),
        ("2000 tokens", Every(2000, "tokens")),
        ("1 line", Every(1, "lines")),
        ("50Lines", Every(50, "lines")),
        ("5m", Every(300, "seconds")),
        ("1.5 hours", Every(5400, "seconds")),
        ("90s", Every(90, "seconds")),
    ],
)
def test_every(text: str, every: Every) -> None:
    assert Every.of(text) == every


@pytest.mark.parametrize("text", ["", "5", "tokens", "0 tokens", "1.5 lines", "0s", "5 parsecs", "-5m"])
def test_every_refuses(text: str) -> None:
    with pytest.raises(UsageError, match="--every must be"):
        Every.of(text)
