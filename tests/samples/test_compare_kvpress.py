"""samples/compare_kvpress.py, which runs without lcdoc: it judges answers as lcdoc's needle test does."""

import ast
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.evaluate.needle import is_right

SCRIPT = Path(__file__).parents[2] / "samples" / "compare_kvpress.py"


@pytest.fixture(scope="module")
def judge() -> Callable[[str, str], bool]:
    """The script's own is_right, without the imports that only its environment has."""
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    needed = [
        node
        for node in tree.body
        if (isinstance(node, ast.FunctionDef) and node.name == "is_right")
        or (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "THOUSANDS_COMMA")
    ]
    assert len(needed) == 2
    names = {"re": re}
    exec(compile(ast.Module(needed, []), str(SCRIPT), "exec"), names)
    return names["is_right"]


@pytest.mark.parametrize(
    ("answer", "value", "right"),
    [
        ("It is 3254257.", "3254257", True),
        ("It is 3,254,257.", "3254257", True),
        ("No. 3254257th", "3254257", True),
        ("It is 13254257.", "3254257", False),
        ("It is 32542570.", "3254257", False),
        ("in lisbon", "Lisbon", True),
        ("LISBON!", "Lisbon", True),
        ("the Lisbonites", "Lisbon", False),
        ("It is k7-qx.", "K7-QX", True),
        ("It is K7-QX9.", "K7-QX", False),
        ("It is K7xQX.", "K7.QX", False),
        ("", "Lisbon", False),
    ],
)
def test_answers_are_judged_alike(
    judge: Callable[[str, str], bool], answer: str, value: str, right: bool
) -> None:
    assert judge(answer, value) == is_right(answer, value) == right
