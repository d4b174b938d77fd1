"""Scoring answers against those known to be right."""

import pytest

from lcdoc.evaluate.metrics import METRICS, named_class, named_letter


@pytest.mark.parametrize(
    ("metric", "answer", "right", "score"),
    [
        ("f1", "The 100 million sentences.", ["100 million sentences"], 1.0),
        ("f1", "sentences", ["100 million sentences"], 0.5),
        ("f1", "none of it", ["100 million sentences"], 0.0),
        ("f1", "red red", ["red blue"], 0.5),
        ("f1", "blue", ["100 million", "Blue!"], 1.0),
        ("f1", "", ["blue"], 0.0),
        ("contains", "It was passed in 1876, in Canada.", ["1876"], 1.0),
        ("contains", "It was passed in 18765.", ["1876"], 0.0),
        ("contains", "9", ["19", "9"], 1.0),
        ("contains", "the value is 4eec905c-3998", ["4eec905c-3998"], 1.0),
        ("contains", "", ["9"], 0.0),
        ("choice", "B", ["B"], 1.0),
        ("choice", "(C) They left.", ["B"], 0.0),
        ("choice", "I can't tell.", ["B"], 0.0),
        ("rouge", "police killed the gunman", ["police kill the gunman"], 0.75),
        ("rouge", "the gunman kill police", ["police kill the gunman"], 0.5),
        ("rouge", "", ["police"], 0.0),
        ("rouge", "one two three", ["four", "one, two, three."], 1.0),
        ("number", "Paragraph 15", ["15"], 1.0),
        ("number", "15 or 16, or 15 again", ["15"], 2 / 3),
        ("number", "Paragraph 150", ["15"], 0.0),
        ("number", "fifteen", ["15"], 0.0),
        ("edit", "return a + b", ["return a + b"], 1.0),
        ("edit", "abcd", ["abxd"], 0.75),
        ("edit", "```python\n# the sum\nab\ncd", ["ab"], 1.0),
        ("edit", "```\n# the sum", ["ab"], 0.0),
    ],
)
def test_scores(metric: str, answer: str, right: list[str], score: float) -> None:
    assert METRICS[metric](answer, right) == pytest.approx(score)


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("B", "B"),
        (" b", None),
        ("(B)", "B"),
        ("**D**", "D"),
        ("B. To measure it", "B"),
        ("C) the third", "C"),
        ("A\nbecause", "A"),
        ("The answer is B.", "B"),
        ("The right option is (D), since", "D"),
        ("Answer: A", "A"),
        ("I choose (C).", "C"),
        ("A man with a dog", None),
        ("He surrendered.", None),
        ("", None),
    ],
)
def test_the_letter_an_answer_names(answer: str, letter: str | None) -> None:
    assert named_letter(answer) == letter


@pytest.mark.parametrize(
    ("answer", "score"),
    [
        ("Type: City", 1.0),
        ("City or State", 0.5),
        ("Other city", 0.0),
        ("It is a City, a State, no Capital City", 1 / 3),
        ("", 0.0),
    ],
)
def test_a_class_shares_its_point_with_others_that_are_named(answer: str, score: float) -> None:
    classes = ["City", "Capital City", "State"]
    assert named_class(answer, ["City"], classes) == pytest.approx(score)
    assert named_class("Capital City", ["Capital City"], classes) == 1, "a part of its name is no rival"
