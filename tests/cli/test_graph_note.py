"""`lcdoc ask` where CUDA refuses a captured graph: why answers are slower is said once, and stands in the receipt."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.engine.graph import DecodeGraph


def test_why_no_graph_decodes_is_said_once(
    call_lcdoc: Callable, babbler: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(graph: DecodeGraph) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    (tmp_path / "story.txt").write_text("Some words of a story.\n" * 30, encoding="utf-8")
    device = ("--model", babbler, "--store", "off", "--device", "cpu")
    command = (
        "ask",
        "story.txt",
        "What?",
        "-q",
        "Who?",
        *device,
        "--max-new-tokens",
        "100",
        "--break-circles",
        "off",
        "--json",
    )
    usual = call_lcdoc(*command)
    assert usual.returncode == 0 and "graph" not in usual.stderr + usual.stdout
    monkeypatch.setattr(DecodeGraph, "suits", lambda model, max_new_tokens: True)  # as on CUDA
    monkeypatch.setattr(DecodeGraph, "_capture", refuse)
    refused = call_lcdoc(*command)
    why = "CUDA refused to capture it (operation not permitted when stream is capturing)"
    note = f"answers are written token by token, without a CUDA graph, which is slower: {why}"
    assert refused.stderr.count(note) == 1
    answers, before = json.loads(refused.stdout)["answers"], json.loads(usual.stdout)["answers"]
    assert [answer["answer"] for answer in answers] == [answer["answer"] for answer in before]
    assert all(answer["receipt"]["notes"].count(note) == 1 for answer in answers)
