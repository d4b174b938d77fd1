"""`lcdoc eval needle` as it is run."""

import json
from collections.abc import Callable
from pathlib import Path

from lcdoc.models import load_tokenizer, resolve

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


def test_mistakes_are_one_line(call_lcdoc, tiny_model: Path) -> None:
    for options, message, code in (
        (("--lengths", "1k"), "--lengths must be whole numbers with commas between, not '1k'", 2),
        (
            ("--mode", "fast"),
            "modes must be some of exact, stream, duo, bfloat16, int8, int4, stock, pi, ntk, yarn, longrope, "
            "self-extend, lm-infinite, parts, kv, words, first, near or a policy and what it keeps, "
            "such as question@25%, or duo or random and the share of heads that stream, such as duo@75%, "
            "and behind lcdoc's own +sparse for reading by blocks, +pages for answering by pages, +int8 or +int4 "
            "for how keys and values are stored, not 'fast'",
            2,
        ),
        (("--lengths", "9000"), "the model's window is 2,048 tokens", 4),
        (("--json", "none/x.json"), "none/x.json: the result can't be written: No such file", 1),
        (("--haystack", "none.txt"), "none.txt: can't be read as UTF-8 text", 3),
    ):
        result = call_lcdoc("eval", "needle", "--model", tiny_model, "--lengths", "200", *options)
        assert result.returncode == code and result.stdout == "", options
        assert message in result.stderr and "Traceback" not in result.stderr


def test_prompts_for_another_program(run_lcdoc, tiny_model: Path, tmp_path: Path) -> None:
    grid = ("--lengths", "200", "--depths", "2", "--seeds", "1", "--templates", "magic,password")
    options = ("eval", "needle", "--model", tiny_model, *grid)
    result = run_lcdoc(*options, "--export", tmp_path / "prompts.jsonl")
    assert result.returncode == 0 and result.stdout == "", result.stderr
    assert f"4 prompts written to {tmp_path / 'prompts.jsonl'}" in result.stderr
    lines = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    assert [(line["template"], line["depth"]) for line in lines] == [
        ("magic", 0.0),
        ("magic", 1.0),
        ("password", 0.0),
        ("password", 1.0),
    ]
    tokenizer = load_tokenizer(resolve(str(tiny_model)))
    for line in lines:
        assert line["value"] in tokenizer.decode(line["document_ids"])
        assert line["key"] in tokenizer.decode(line["question_ids"])
        assert (line["book"], line["seed"], line["length_tokens"]) == ("frankenstein", 0, 200)
    measured = run_lcdoc(*options, "--mode", "exact", "--json", tmp_path / "needle.json")
    assert measured.returncode == 0, measured.stderr
    cells = json.loads((tmp_path / "needle.json").read_text(encoding="utf-8"))["cells"]
    assert [cell["value"] for cell in cells] == [line["value"] for line in lines]
    assert [cell["prompt_tokens"] for cell in cells] == [
        len(line["document_ids"]) + len(line["question_ids"]) for line in lines
    ]


def test_an_export_has_no_result(run_lcdoc, tiny_model: Path, tmp_path: Path) -> None:
    result = run_lcdoc("eval", "needle", "--export", "prompts.jsonl", "--json", "result.json")
    assert result.returncode == 2 and "--export reads nothing" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_shared_reading_from_end_to_end(run_lcdoc, tiny_model: Path, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("eval", "needle", "--model", tiny_model, "--lengths", "400", "--depths", "3", "--seeds", "1"),
        *("--haystack", "moby-dick", "--haystack", "frankenstein", "--shared-reading"),
        *("--mode", "exact,int8", "--json", tmp_path / "needle.json"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "needle.json").read_text(encoding="utf-8"))
    assert report["complete"] and report["settings"]["shared_reading"] is True
    assert [(cell["book"], cell["mode"], cell["depth"]) for cell in report["cells"]] == [
        (book, mode, depth)
        for book in ("moby-dick", "frankenstein")
        for mode in ("exact", "int8")
        for depth in (0.0, 0.5, 1.0)
    ]
