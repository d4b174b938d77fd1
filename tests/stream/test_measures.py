"""The commands that measure streams."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

SIZES = ("--device", "cpu", "--recent-size", "128", "--chunk-tokens", "64", "--keep", "64")


def test_bench(run_lcdoc: Callable[..., Any], tiny: str, tmp_path: Path) -> None:
    done = run_lcdoc("bench", "stream", "--model", tiny, *SIZES, "--tokens", "2000", "--json", "result.json")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert [tenth["tokens"] for tenth in result["tenths"]] == [200 * number for number in range(1, 11)]
    held_bytes = [tenth["kv_bytes"] for tenth in result["tenths"][3:]]
    assert max(held_bytes) < 1.3 * min(held_bytes)  # a chunk more or less
    assert result["complete"] and result["highest_position"] < result["context_tokens"]
    assert 0.5 < result["rss_last_to_second"] < 1.5 and result["speed_last_to_second"] > 0


def test_recall(run_lcdoc: Callable[..., Any], tiny: str, tmp_path: Path) -> None:
    words = (
        "eval",
        "stream",
        "--model",
        tiny,
        *SIZES,
        "--distance",
        "600",
        "--seeds",
        "1",
        "--json",
        "result.json",
    )
    done = run_lcdoc(*words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert [cell["way"] for cell in result["cells"]] == ["asked", "blind", "window"]
    assert all(500 < cell["distance_tokens"] <= 700 for cell in result["cells"])
    assert result["score"]["window"] == {"found": 0, "held": 0, "told": 1}
    assert "nothing left to measure" in run_lcdoc(*words).stderr


def test_perplexity(run_lcdoc: Callable[..., Any], tiny: str, tmp_path: Path) -> None:
    words = (
        "--length",
        "900",
        "--scored-tokens",
        "100",
        "--window",
        "128",
        "--keep",
        "32",
        "--json",
        "result.json",
    )
    done = run_lcdoc("eval", "stream-perplexity", "--model", tiny, "--device", "cpu", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "result.json").read_text())
    assert list(result["score"]) == ["sinks", "kept", "no-sinks", "fresh"]
    assert result["score"]["fresh"]["ratio_to_fresh"] == 1.0
    assert all(cell["scored_tokens"] == 100 for cell in result["cells"])
