"""Pictures of results: while they are measured, and of files that are there already."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.image import imread
from rich.console import Console

from lcdoc.cli.tables import Shaded, print_table
from lcdoc.errors import LcdocError, UsageError
from lcdoc.evaluate.plots import check_picture, draw, load_report, panels


def needle_report(right: int = 3) -> dict[str, Any]:
    """Two lengths and depths with two seeds each; the first of them are right."""
    places = [(length, depth) for length in (4000, 1000) for depth in (0.0, 1.0) for _ in range(2)]
    cells = [
        {"mode": mode, "length_tokens": length, "depth": depth, "right": idx < right}
        for mode in ("exact", "int4")
        for idx, (length, depth) in enumerate(places)
    ]
    return {"suite": "needle", "model": {"name": "tiny"}, "cells": cells}


def ruler_report() -> dict[str, Any]:
    cells = [
        {"mode": mode, "task": task, "length_tokens": length, "score": score}
        for mode, score in (("exact", 1.0), ("int4", 0.25))
        for task in ("single", "common")
        for length in (1000, 4000)
    ]
    return {"suite": "ruler", "model": {"name": "tiny"}, "cells": cells[:-1]}


def write(path: Path, report: object) -> Path:
    path.write_text(json.dumps(report), encoding="utf-8")
    return path


def test_a_measured_result_and_its_file_give_the_same_picture(
    run_lcdoc, tiny_model: Path, tmp_path: Path
) -> None:
    result = run_lcdoc(
        *("eval", "needle", "--model", tiny_model, "--lengths", "200,300", "--depths", "2", "--seeds", "1"),
        *("--mode", "exact", "--json", "needle.json", "--plot", "needle.png"),
    )
    assert result.returncode == 0, result.stderr
    assert "picture written to needle.png" in result.stderr
    again = run_lcdoc("eval", "plot", "needle.json", "--plot", "again.png")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "picture written to again.png\n")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "needle.png").read_bytes()


def test_mistakes_are_one_line_before_anything_is_read(
    run_lcdoc, cli_env: dict[str, str], tiny_model: Path, tmp_path: Path
) -> None:
    without = tmp_path / "without"
    without.mkdir()
    (without / "matplotlib.py").write_text("raise ImportError('none here')", encoding="utf-8")
    words = ("eval", "ruler", "--model", tiny_model, "--lengths", "1000", "--plot")
    for options, env, message in (
        (
            ("ruler.png",),
            {"PYTHONPATH": os.pathsep.join((str(without), cli_env["PYTHONPATH"]))},
            "a picture needs matplotlib: pip install 'lcdoc[plot]'\n",
        ),
        (("ruler.gif",), {}, "--plot draws PNG; name a file that ends in .png, not 'ruler.gif'\n"),
    ):
        result = run_lcdoc(*words, *options, env=env, fresh=bool(env))
        assert result.returncode == 2 and result.stdout == "", options
        assert result.stderr.endswith(f"lcdoc: {message}") and "1 of " not in result.stderr


def test_the_panels_of_a_needle_test() -> None:
    exact, int4 = panels(needle_report(), "other")
    assert (exact.title, int4.title) == ("exact\ntiny\nother", "int4\ntiny\nother")
    assert exact.columns == ["1,000", "4,000"] and exact.rows == ["0%", "100%"]
    assert exact.values == [[0, 1], [0, 0.5]] and exact.figures == [["0/2", "2/2"], ["0/2", "1/2"]]


def test_the_panels_of_ruler_and_what_was_not_measured() -> None:
    short, long = panels(ruler_report(), "")
    assert (short.title, long.title) == ("1,000 tokens\ntiny", "4,000 tokens\ntiny")
    assert short.rows == ["single", "common"] and short.columns == ["exact", "int4"]
    assert short.values == [[1, 0.25], [1, 0.25]] and long.values == [[1, 0.25], [1, None]]
    assert long.figures == [["1.00", "0.25"], ["1.00", ""]]


def test_pictures_are_coloured_by_their_shares_and_joined(tmp_path: Path) -> None:
    def brightness(right: int) -> float:
        draw([("", needle_report(right))], tmp_path / "one.png")
        return float(imread(tmp_path / "one.png")[..., :3].mean())

    assert brightness(0) < brightness(3) < brightness(8)
    one = imread(tmp_path / "one.png")
    draw([("a", needle_report()), ("b", ruler_report())], tmp_path / "all.png")
    joined = imread(tmp_path / "all.png")
    assert joined.shape[0] >= one.shape[0] and joined.shape[1] > 1.8 * one.shape[1]
    draw([("", needle_report(8))], tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "one.png").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"suite": "qa", "model": {"name": "x"}, "cells": []}, "is no result of needle or ruler"),
        ([1], "is no result of needle or ruler"),
        (needle_report() | {"cells": [{"mode": "exact"}]}, "is no result of needle or ruler"),
        (needle_report() | {"cells": []}, "holds nothing measured yet"),
    ],
    ids=["suite", "list", "cell", "empty"],
)
def test_a_file_that_is_no_result_is_refused(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(UsageError, match=rf"result\.json {message}"):
        load_report(write(tmp_path / "result.json", content))


def test_a_place_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none/x\.png: there is no folder .*none; name another file"):
        check_picture(tmp_path / "none" / "x.png")
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(LcdocError, match=r"folder\.png: the picture can't be written: Is a directory"):
        draw([("", needle_report())], tmp_path / "folder.png")


def test_nothing_of_matplotlib_is_imported_without_a_picture() -> None:
    code = "import sys, lcdoc.evaluate.plots, lcdoc.cli.app; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_no_display_is_looked_for(tmp_path: Path) -> None:
    draw([("", ruler_report())], tmp_path / "ruler.png")
    assert "matplotlib.pyplot" not in sys.modules


@pytest.mark.parametrize(
    ("terminal", "env", "colors", "shaded"),
    [
        (True, {}, True, True),
        (True, {"NO_COLOR": "1"}, True, False),
        (True, {}, False, False),
        (False, {}, True, False),
    ],
    ids=["terminal", "NO_COLOR", "--no-color", "pipe"],
)
def test_tables_are_shaded_on_terminals_with_colours(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    terminal: bool,
    env: dict[str, str],
    colors: bool,
    shaded: bool,
) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLORTERM": "truecolor", **env}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(Console, "is_terminal", property(lambda console: terminal))
    print_table(
        "right",
        ["tokens", "0%"],
        [["1,000", Shaded("3/4", 0.75)], ["4,000", Shaded("0/4", 0.0)]],
        colors=colors,
    )
    out = capsys.readouterr().out
    assert "3/4" in out and "0/4" in out
    assert ("48;2;20;30;110m" in out) == shaded, "the background of a share of 0"
