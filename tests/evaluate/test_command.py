"""`lcdoc eval needle` as it is run."""

import json
from collections.abc import Callable
from pathlib import Path

Run = Callable[..., object]


def test_a_small_grid_from_end_to_end(run_lcdoc, tiny_model: Path, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("eval", "needle", "--model", tiny_model, "--lengths", "150,250", "--depths", "2", "--seeds", "1"),
        *("--mode", "exact,stock", "--template", "locker", "--json", tmp_path / "needle.json"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "needle.json").read_text(encoding="utf-8"))
    assert report["complete"] and len(report["cells"]) == 8
    assert report["settings"]["template"] == "locker"
    for length in ("150", "250"):
        assert report["score"]["exact"][length] == {"cells": 2, "right": 0, "same_as_stock": 2}
    rows = [line.split() for line in result.stdout.splitlines() if "/" in line]
    assert rows == [
        [length, mode, "0/1", "0/1", "0/2"] for length in ("150", "250") for mode in ("exact", "stock")
    ]
    assert (
        "8 of 8: stock, 250 tokens, depth 100%, seed 0, locker in frankenstein: wrong, not " in result.stderr
    )


def test_mistakes_are_one_line(run_lcdoc, tiny_model: Path) -> None:
    for options, message, code in (
        (("--lengths", "1k"), "--lengths must be whole numbers with commas between, not '1k'", 2),
        (
            ("--mode", "fast"),
            "modes must be some of exact, stream, duo, bfloat16, int8, int4, stock, not 'fast'",
            2,
        ),
        (("--lengths", "9000"), "the model's window is 2,048 tokens", 4),
        (("--json", "none/x.json"), "none/x.json: the result can't be written: No such file", 1),
        (("--haystack", "none.txt"), "none.txt: can't be read as UTF-8 text", 3),
    ):
        result = run_lcdoc("eval", "needle", "--model", tiny_model, "--lengths", "200", *options)
        assert result.returncode == code and result.stdout == "", options
        assert message in result.stderr and "Traceback" not in result.stderr
