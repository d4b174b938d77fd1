"""`lcdoc eval perplexity` as it is run, and its numbers beside transformers' own."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from lcdoc.config import ReadSettings
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.modes import switch
from lcdoc.evaluate.perplexity import PerplexityTest, Stretches, WindowCell, begin_ids, make_windows, score
from lcdoc.models import load_tokenizer, resolve

SMALL = Stretches(700, 150, 2, ("exact", "int8", "int4", "stream", "stock"))


def test_from_end_to_end(run_lcdoc, tiny_model: Path, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("eval", "perplexity", "--model", tiny_model, "--length", "400", "--scored-tokens", "100"),
        *("--windows", "2", "--mode", "exact,int4", "--haystack", "frankenstein", "--haystack", "moby-dick"),
        *("--json", tmp_path / "perplexity.json"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "perplexity.json").read_text(encoding="utf-8"))
    assert report["complete"] and len(report["cells"]) == 8
    assert report["suite"] == "perplexity" and report["settings"]["books"] == ["frankenstein", "moby-dick"]
    exact, int4 = report["score"]["exact"], report["score"]["int4"]
    assert exact["windows"] == int4["windows"] == 4 and exact["ratio_to_exact"] == 1
    assert 0.9 < int4["ratio_to_exact"] < 1.1 and int4["ratio_to_exact"] != 1
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[:1] in (["exact"], ["int4"])]
    assert rows == [
        ["exact", f"{exact['perplexity']:.4f}", "1.00000"],
        ["int4", f"{int4['perplexity']:.4f}", f"{int4['ratio_to_exact']:.5f}"],
    ]
    assert "8 of 8: int4, moby-dick from token" in result.stderr


def test_mistakes_are_one_line(call_lcdoc, tiny_model: Path) -> None:
    for options, message, code in (
        (("--length", "512"), "the length must be above the 512 tokens that are scored, not 512", 2),
        (("--haystack", "none.txt"), "none.txt: can't be read as UTF-8 text", 3),
    ):
        result = call_lcdoc("eval", "perplexity", "--model", tiny_model, "--length", "600", *options)
        assert result.returncode == code and result.stdout == "", options
        assert message in result.stderr and "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"windows": 0}, "windows must be 1 or more, not 0"),
        ({"scored_tokens": 0}, "scored tokens must be 1 or more, not 0"),
        ({"modes": ("fast",)}, "modes must be some of"),
        ({"modes": ("exact", "question@25%")}, "mode question@25% needs a question, .* snapkv@25%"),
    ],
)
def test_wrong_stretches_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Stretches(**changes)


@pytest.fixture(scope="module")
def finished(tiny_model: Path) -> PerplexityTest:
    settings = ReadSettings(model=str(tiny_model), dtype="float32", chunk_tokens=128)
    test = PerplexityTest(settings, SMALL)
    list(test.run())
    return test


def test_exact_and_stock_are_what_one_forward_pass_says(finished: PerplexityTest) -> None:
    model = finished._subject._model
    switch(model, "stock")
    for window in finished.windows:
        ids = torch.tensor([window.token_ids])
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, -SMALL.scored_tokens - 1 : -1]
        wanted = float(torch.nn.functional.cross_entropy(logits, ids[0, -SMALL.scored_tokens :]))
        for mode in ("exact", "stock"):
            [cell] = [c for c in finished.cells if (c.mode, c.start_token) == (mode, window.start_token)]
            assert cell.loss == pytest.approx(wanted, abs=1e-4)
            assert cell.perplexity == pytest.approx(math.exp(wanted), rel=1e-4)


def test_what_drops_or_rounds_is_seen(finished: PerplexityTest) -> None:
    ratios = {mode: total["ratio_to_exact"] for mode, total in score(finished.cells).items()}
    assert ratios["exact"] == 1 and ratios["stock"] == pytest.approx(1, abs=1e-4)
    assert 0 < abs(ratios["int8"] - 1) < abs(ratios["int4"] - 1) < abs(ratios["stream"] - 1)
    kv_bytes = {cell.mode: cell.kv_bytes for cell in finished.cells}
    assert kv_bytes["exact"] == kv_bytes["stock"] == 2 * 2 * 2 * 8 * 4 * (700 - 150)
    assert kv_bytes["int4"] < kv_bytes["int8"] < kv_bytes["exact"]


def test_windows_are_spread_from_start_to_end_of_the_book(tiny_model: Path) -> None:
    book = Haystack.open("moby-dick", load_tokenizer(resolve(str(tiny_model))))
    windows = list(make_windows(book, Stretches(1000, 100, 3)))
    assert [len(window.token_ids) for window in windows] == [1000] * 3
    assert windows[0].token_ids == book.token_ids[:1000] and windows[2].token_ids == book.token_ids[-1000:]
    assert windows[1].start_token == (len(book.token_ids) - 1000) // 2
    with pytest.raises(
        UsageError, match=r"moby-dick has [\d,]+ tokens, fewer than the [\d,]+ that 4 windows"
    ):
        list(make_windows(book, Stretches(len(book.token_ids) - 100, 100, 4)))


def test_a_text_begins_as_the_model_was_trained_to_see_it() -> None:
    class Tokenizer:
        bos_token_id = 7

        def __init__(self, first: int) -> None:
            self.first = first

        def __call__(self, text: str) -> object:
            return type("Encoding", (), {"input_ids": [self.first, 3]})

    assert begin_ids(Tokenizer(first=7)) == [7] and begin_ids(Tokenizer(first=5)) == []


def test_a_ratio_is_over_the_windows_read_both_ways() -> None:
    def cell(mode: str, start_token: int, loss: float) -> WindowCell:
        return WindowCell(mode, "frankenstein", start_token, 10, 5, loss, math.exp(loss), 0.1, 1)

    totals = score([cell("exact", 0, 2.0), cell("int4", 0, 2.5), cell("int4", 9, 8.0)])
    assert totals["int4"] == {
        "windows": 2,
        "perplexity": pytest.approx(math.exp(5.25)),
        "ratio_to_exact": pytest.approx(math.exp(0.5)),
    }
    assert score([cell("int4", 0, 2.0)])["int4"]["ratio_to_exact"] is None


def test_what_does_not_fit_is_refused_before_the_weights_are_loaded(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(DoesNotFitError, match="the length is 2,049 tokens"):
        PerplexityTest(ReadSettings(model=str(tiny_model)), Stretches(2049))


@pytest.mark.model
def test_rounding_costs_the_default_model_little(run_lcdoc, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("eval", "perplexity", "--length", "900", "--scored-tokens", "128", "--windows", "1"),
        *("--mode", "exact,bfloat16,int8,int4,stock", "--dtype", "float32"),
        *("--json", tmp_path / "result.json"),
    )
    assert result.returncode == 0, result.stderr
    total = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))["score"]
    assert 1 < total["exact"]["perplexity"] < 100
    assert total["stock"]["ratio_to_exact"] == pytest.approx(1, abs=1e-3)
    assert total["bfloat16"]["ratio_to_exact"] == pytest.approx(1, abs=0.01)
    assert total["int8"]["ratio_to_exact"] == pytest.approx(1, abs=0.01)
    assert total["int4"]["ratio_to_exact"] == pytest.approx(1, abs=0.2)
