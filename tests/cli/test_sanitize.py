"""What a document or a model may send to a terminal."""

import random

import pytest

from lcdoc.cli.sanitize import Sanitizer, clean, clean_line

SEQUENCES = {
    "colour": "\x1b[31m",
    "clear screen": "\x1b[2J",
    "private mode": "\x1b[?1049h",
    "cursor style": "\x1b[2 q",
    "C1 CSI": "\x9b1;31m",
    "title": "\x1b]0;gotcha\x07",
    "title ended by ST": "\x1b]0;gotcha\x1b\\",
    "title ended by C1 ST": "\x1b]0;gotcha\x9c",
    "C1 OSC": "\x9d0;gotcha\x9c",
    "clipboard": "\x1b]52;c;ZXZpbA==\x07",
    "DCS": "\x1bP1$r0m\x1b\\",
    "C1 DCS": "\x90q#0\x9c",
    "APC": "\x1b_payload\x1b\\",
    "PM": "\x1b^payload\x1b\\",
    "SOS": "\x1bXpayload\x1b\\",
    "charset": "\x1b(0",
    "reset": "\x1bc",
    "save cursor": "\x1b7",
    "keypad": "\x1b=",
    "bell": "\x07",
    "backspace": "\b\b\b",
    "carriage return": "\r",
    "delete": "\x7f",
    "C1 next line": "\x85",
    "override": "\u202e",
    "isolate": "\u2066\u2069",
    "zero-width": "\u200b\u2060\ufeff",
    "tags": "\U000e0069\U000e0067",
}


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_sequence_vanishes_and_its_neighbours_stay(sequence: str) -> None:
    assert clean(f"before{sequence}after") == "beforeafter"


@pytest.mark.parametrize("sequence", SEQUENCES.values(), ids=SEQUENCES.keys())
def test_sequence_cut_anywhere_between_chunks(sequence: str) -> None:
    text = f"before{sequence}after"
    for cut in range(len(text) + 1):
        sanitizer = Sanitizer()
        pieces = sanitizer.feed(text[:cut]), sanitizer.feed(text[cut:]), sanitizer.flush()
        assert "".join(pieces) == "beforeafter", f"cut at {cut}"


def test_plain_text_is_untouched_and_never_waits() -> None:
    text = (
        "Ünïcode \u05e9\u05dc\u05d5\u05dd\u200f 漢字 \U0001f600\n\tcafe\u0301 [bold]not markup[/bold] a]b\\c"
    )
    sanitizer = Sanitizer()
    assert sanitizer.feed(text) == text
    assert sanitizer.flush() == ""


@pytest.mark.parametrize("start", ["\x1b]0;", "\x1bP", "\x9d", "\x1b_"])
def test_unclosed_control_string_does_not_swallow_the_answer(start: str) -> None:
    assert clean(f"{start}the answer\nis here").endswith("the answer\nis here")


def test_very_long_control_string_is_released_before_the_stream_ends() -> None:
    sanitizer = Sanitizer()
    assert sanitizer.feed("\x1b]" + "x" * 5000) == "x" * 5000


def test_escape_broken_by_a_newline_keeps_the_line() -> None:
    assert clean("a\x1b[31\nb") == "a\nb"
    assert clean("a\x1b\nb") == "a\nb"


def test_unfinished_sequence_at_the_end_leaves_nothing_active() -> None:
    assert clean("end\x1b[3") == "end"
    assert clean("end\x1b") == "end"
    assert clean("end\x9b") == "end"


def test_any_cut_of_random_input_equals_the_whole_and_holds_no_control() -> None:
    generator = random.Random(0)
    alphabet = [
        "\x1b",
        "[",
        "]",
        "0",
        ";",
        "m",
        "\x07",
        "\\",
        "\n",
        "\t",
        "a",
        "\x9b",
        "\x9d",
        "\x9c",
        "é",
        "\u202e",
        "P",
    ]
    for _ in range(2000):
        text = "".join(generator.choices(alphabet, k=generator.randrange(1, 25)))
        whole = clean(text)
        assert not set(whole) & set("\x1b\x07\x9b\x9d\x9c\u202e"), repr(text)
        sanitizer, pieces, start = Sanitizer(), [], 0
        while start < len(text):
            end = start + generator.randrange(1, 5)
            pieces.append(sanitizer.feed(text[start:end]))
            start = end
        assert "".join(pieces) + sanitizer.flush() == whole, repr(text)


def test_clean_line_is_one_line() -> None:
    assert clean_line("a\x1b[2J\n b\t\tc\r\n") == "a b c"
