"""`lcdoc profiles`: what is known of each profile, and its gates as a picture."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
TINY = """model: tiny
gates: [[1.0, 0.149], [0.25, 0.999]]
sink_size: 4
recent_size: 64
prefill_recent_size: 1024
source: by hand
measured:
  steps: 2000
  loss: [[0, 1.5], [10, 1.4], [20, 1.3], [30, 1.2], [40, 1.1], [50, 1.0], [60, 0.5]]
  data: "a\\e[31mb"
"""
CELL = r"\x1b\[38;[\d;]+m██"


@pytest.fixture
def tiny(work: Path) -> str:
    (work / "tiny.yaml").write_text(TINY, encoding="utf-8")
    return "tiny.yaml"


def test_list_has_a_row_for_each_shipped_profile(lcdoc: Run) -> None:
    done = lcdoc("profiles", "list")
    assert (done.returncode, done.stderr) == (0, "")
    head, *rows = (re.split("  +", line) for line in done.stdout.splitlines())
    assert head == ["name", "model", "layers x heads", "below 0.5", "median gate"]
    assert len(rows) == 8
    assert [
        "llama-2-7b-32k-instruct",
        "togethercomputer/Llama-2-7B-32K-Instruct",
        "32 x 32",
        "56%",
        "0.24",
    ] in rows
    for name, *_ in rows:
        assert lcdoc("profiles", "show", name).returncode == 0


def test_show_tells_what_was_measured_and_draws_with_digits_in_a_pipe(lcdoc: Run, tiny: str) -> None:
    done = lcdoc("profiles", "show", tiny, FORCE_COLOR="")
    assert (done.returncode, done.stderr) == (0, "")
    assert "recent size       64 tokens, 1,024 while reading\n" in done.stdout
    assert "gates             50% below 0.5, median 0.62\n" in done.stdout
    assert "  steps           2,000\n" in done.stdout
    assert "  loss            0, 1.5 ... 60, 0.5 (7 of them)\n" in done.stdout
    assert "  data            ab\n" in done.stdout and "\x1b" not in done.stdout
    picture = done.stdout.splitlines()[-4:]
    assert picture[:3] == ["heads   0", "layer 0 9 1", "layer 1 2 9"]


def test_many_layers_lie_on_their_side(lcdoc: Run) -> None:
    lines = lcdoc("profiles", "show", "meta-llama-3.1-8b-instruct").stdout.splitlines()
    assert lines[-10] == "layers 0                   10                  20                  30"
    assert lines[-9].startswith("head 0 6 9 0 8 8 5 ") and len(lines[-9]) == len("head 0 ") + 2 * 32 - 1
    square = lcdoc("profiles", "show", "llama-2-7b-32k-instruct").stdout.splitlines()
    assert square[-2].startswith("layer 31 ")


def test_a_terminal_gets_colours_and_a_scale(terminal: Callable[..., Any], tiny: str) -> None:
    code, screen = terminal("profiles", "show", tiny).end()
    assert code == 0
    assert len(re.findall(CELL, screen)) == 4
    assert "0 " in screen and " 1: from sinks and recent tokens only" in screen


def test_a_narrow_terminal_still_holds_every_column(terminal: Callable[..., Any]) -> None:
    code, screen = terminal("profiles", "show", "mistral-7b-instruct-v0.2", columns=50, NO_COLOR="1").end()
    assert code == 0
    rows = re.findall(r"^head \d (\d+)\r$", screen, re.MULTILINE)
    assert [len(row) for row in rows] == [32] * 8


@pytest.mark.parametrize("variable", ["NO_COLOR", "LCDOC_COLOR"])
def test_no_colours_where_none_are_wanted(terminal: Callable[..., Any], tiny: str, variable: str) -> None:
    value = "never" if variable == "LCDOC_COLOR" else "1"
    code, screen = terminal("profiles", "show", tiny, **{variable: value}).end()
    assert code == 0
    assert "layer 0 9 1" in screen and "\x1b[38" not in screen and "█" not in screen


def test_an_unknown_name(lcdoc: Run) -> None:
    done = lcdoc("profiles", "show", "nonesuch")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no head profile 'nonesuch'; give a YAML file or one of: llama-2-7b-32k-instruct," in done.stderr
