"""Parts of a summary that are written about at the same time: as many as the budget has room for, each as alone."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

from lcdoc.config import ReadSettings
from lcdoc.documents import load_document
from lcdoc.engine import joint_decode
from lcdoc.engine.joint_decode import Step
from lcdoc.engine.memory import AllocationFailed
from lcdoc.tasks import answering
from lcdoc.tasks.progress import Progress
from lcdoc.tasks.summarize.summarize import Summarizer
from lcdoc.tasks.summarize.wish import Wish

WINDOW, LAYERS, HEADS, HEAD_DIM = 768, 2, 8, 256


@pytest.fixture(scope="module")
def wide(write_tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of small weights whose keys and values take 64 KiB a token."""
    tokenizer = AutoTokenizer.from_pretrained(
        write_tiny_model(digits="alone", vocab_size=600, num_layers=1, window=WINDOW, spread=0.2)
    )
    folder = tmp_path_factory.mktemp("models") / "wide"
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        head_dim=HEAD_DIM,
        max_position_embeddings=WINDOW,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    pages = (
        f"On day {day} the crew of boat {day * 37 % 101} found {day * 11} crowns under grey ice. "
        f"Captain Harrow wrote that island number {day} was nothing but rock and weed, {day} miles long. "
        f"Nobody aboard had seen such weather before, and they turned back at noon."
        for day in range(1, 12)
    )
    (tmp_path / "book.txt").write_text("\f".join(pages), "utf-8")
    return tmp_path / "book.txt"


def test_as_many_as_the_budget_has_room_for(run_lcdoc, json_schema, wide: str, book: Path) -> None:
    """The same summary, within each budget; a row more is taken where there is room for it."""

    def run(*budget: str) -> dict:
        done = run_lcdoc(
            "summarize", book, "--model", wide, "--dtype", "float32", "--length", "short", "--json", *budget
        )
        assert done.returncode == 0, done.stderr
        summary = json.loads(done.stdout)
        json_schema("summary").validate(summary)
        together = summary["receipt"]["parts_together"]
        assert summary["plan"]["parts_together"] == together
        assert (f"{together} at a time" in done.stderr) == (together > 1)
        return summary

    free = run()
    parts = free["receipt"]["parts"]
    assert free["receipt"]["parts_together"] == min(parts, 8) > 5
    row = LAYERS * 2 * HEADS * HEAD_DIM * 4 * free["plan"]["capacity_tokens"]
    assert row > 15_000_000
    most = free["plan"]["predicted_peak_bytes"]
    rows = free["receipt"]["parts_together"]
    found = {rows: free}
    for less in (3, rows - 1):
        tight = run("--budget", f"{(most - less * row + row // 4) / 1e6:.0f}MB")
        found[tight["receipt"]["parts_together"]] = tight
        assert tight["memory"]["peak_bytes"] <= tight["memory"]["budget_bytes"] < most
        assert tight["plan"]["predicted_peak_bytes"] <= tight["memory"]["budget_bytes"]
        assert (tight["summary"], tight["sections"]) == (free["summary"], free["sections"])
    assert list(found) == [rows, rows - 3, 1]
    held = {count: summary["memory"]["kv_bytes"] for count, summary in found.items()}
    assert held[rows] > rows / 2 * held[1] > 20_000_000
    least = found[1]["memory"]["peak_bytes"] + 0.7 * (held[rows] - held[1])
    assert least < free["memory"]["peak_bytes"]


def summarizer(wide: str, book: Path, **options) -> Summarizer:
    wish = Wish("short", method=options.pop("method", "hierarchical"))
    return Summarizer([load_document(str(book))], ReadSettings(model=wide), wish, **options)


def test_incremental_takes_one_after_the_other(wide: str, book: Path) -> None:
    assert summarizer(wide, book).plan.parts_together > 1
    assert summarizer(wide, book, method="incremental").plan.parts_together == 1


def test_an_interrupt_loses_no_finished_part_and_refused_memory_nothing(
    wide: str, book: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Progress] = []
    whole = summarizer(wide, book, restart=True, observer=seen.append).run()
    mapped = [progress for progress in seen if progress.phase == "map"]
    assert mapped[-1].tokens_done == mapped[-1].tokens_total == whole.receipt.tokens_total
    done = [progress.tokens_done for progress in mapped]
    assert done == sorted(done) and len(set(done)) > 2 * whole.receipt.parts
    assert max(progress.kv_bytes for progress in mapped) == whole.memory.kv_bytes

    stopped = summarizer(wide, book, restart=True)

    def interrupt(steps: Sequence[Step]) -> None:
        if stopped.parts_done >= 2:
            raise KeyboardInterrupt
        joint_decode.read_together(steps)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(answering, "read_together", interrupt)
        stopped.run()
    again = summarizer(wide, book)
    assert again.num_saved == stopped.parts_done >= 2
    resumed = again.run()
    assert resumed.receipt.resumed == stopped.parts_done and resumed.summary == whole.summary

    rows, notes = whole.receipt.parts_together, list[str]()

    def refuse(steps: Sequence[Step]) -> None:
        if len(steps) > rows // 2:
            joint_decode.read_together(steps[:2])  # which leaves two caches ahead of the others
            raise AllocationFailed("an allocation failed: no memory left; free memory")
        joint_decode.read_together(steps)

    monkeypatch.setattr(answering, "read_together", refuse)
    refused = summarizer(wide, book, restart=True, on_note=notes.append).run()
    assert f"an allocation failed for {rows} at a time: going on with {rows // 2}" in notes
    assert refused.summary == whole.summary
