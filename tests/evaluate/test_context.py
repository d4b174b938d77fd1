"""`lcdoc eval context` as it is run, and that its numbers say what they claim."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lcdoc.config import ReadSettings
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.evaluate.context import SEGMENT_TOKENS, ContextTest, Reaches, split_at_value
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.modes import switch
from lcdoc.evaluate.states import anisotropy, change, similarity
from lcdoc.evaluate.templates import TEMPLATES, draw_needle
from lcdoc.models import load_tokenizer, resolve
from lcdoc.tasks.progress import silent

SMALL = Reaches((900,), (0, 256, 512), 2, ("exact", "stream", "int4", "recent@50%", "question@50%", "stock"))


@pytest.fixture(scope="module")
def make_test(tiny_model: Path) -> Callable[..., ContextTest]:
    def make(reaches: Reaches = SMALL, **changes: Any) -> ContextTest:
        options = {"chunk_tokens": 128, "sink_size": 0, "recent_size": 32} | changes
        return ContextTest(
            ReadSettings(model=str(tiny_model), device="cpu", dtype="float32", **options), reaches
        )

    return make


@pytest.fixture(scope="module")
def finished(make_test: Callable[..., ContextTest]) -> ContextTest:
    test = make_test()
    list(test.run())
    return test


def test_from_end_to_end(run_lcdoc, tiny_model: Path, tmp_path: Path) -> None:
    result = run_lcdoc(
        *(
            "eval",
            "context",
            "--model",
            tiny_model,
            "--lengths",
            "400,700",
            "--distances",
            "0,300",
            "--seeds",
            "1",
        ),
        *("--mode", "exact,stream", "--json", tmp_path / "context.json"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "context.json").read_text(encoding="utf-8"))
    assert report["complete"] and len(report["cells"]) == 6  # 400 tokens have no room for a distance of 300
    assert report["suite"] == "context" and report["settings"]["segment_tokens"] == SEGMENT_TOKENS
    totals = report["score"]
    assert list(totals["exact"]) == ["400", "700"] and list(totals["exact"]["400"]) == ["0"]
    rows = [
        line.split() for line in result.stdout.splitlines() if line.split()[1:2] in (["exact"], ["stream"])
    ]
    assert rows == [
        [length, mode, distance, f"{total['change']:.4f}", f"{total['needle_nll']:.4f}"]
        for mode in ("exact", "stream")
        for length, by_distance in totals[mode].items()
        for distance, total in by_distance.items()
    ]
    assert "6 of 6: stream, 700 tokens, distance 300, seed 0 in frankenstein: change 0." in result.stderr


def test_mistakes_are_one_line(call_lcdoc, tiny_model: Path) -> None:
    for options, message, code in (
        (("--distances", "-1"), "distances must be 0 or more, not -1", 2),
        (
            ("--lengths", "200"),
            "a length of 200 tokens has no room for a distance of 0; it takes 256 or more",
            2,
        ),
        (("--seeds", "0"), "seeds must be 1 or more, not 0", 2),
        (("--mode", "fast"), "modes must be some of", 2),
        (("--lengths", "2049"), "the length is 2,049 tokens, but the model's window is 2,048", 4),
        (("--haystack", "none.txt"), "none.txt: can't be read as UTF-8 text", 3),
    ):
        result = call_lcdoc("eval", "context", "--model", tiny_model, "--lengths", "600", *options)
        assert result.returncode == code and result.stdout == "", options
        assert message in result.stderr and "Traceback" not in result.stderr


def test_exact_is_what_transformers_own_states_say(finished: ContextTest) -> None:
    model = finished._subject.model
    switch(model, "stock")

    def states(token_ids: list[int]) -> torch.Tensor:
        with torch.inference_mode():
            return (
                model.model(input_ids=torch.tensor([token_ids]))
                .last_hidden_state[0, -SEGMENT_TOKENS:]
                .double()
            )

    for pair in finished.pairs:
        plain, unrelated = states(pair.text_ids), states(pair.other_ids)
        common = torch.nn.functional.cosine_similarity(plain[:, None], unrelated[None], dim=-1).mean()
        for distance in SMALL.distances:
            mixed = states(pair.mixed_ids(distance))
            alike = torch.nn.functional.cosine_similarity(plain, mixed, dim=-1).mean()
            wanted = float(1 - (alike - common) / (1 - common))
            assert wanted > 1e-3
            for mode in ("exact", "stock"):
                [cell] = cells_of(finished, mode, distance, pair.seed)
                assert cell.change == pytest.approx(wanted, abs=1e-5)
                assert cell.anisotropy == pytest.approx(float(common), abs=1e-5)
                assert cell.changed_tokens == 900 - SEGMENT_TOKENS - distance


def test_the_needle_is_scored_as_one_forward_pass_scores_it(finished: ContextTest) -> None:
    model = finished._subject.model
    switch(model, "stock")
    for pair in finished.pairs:
        for distance, recall in pair.recalls.items():
            ids = [
                *recall.sheet.document_ids,
                *recall.sheet.questions[0],
                *recall.lead_ids,
                *recall.value_ids,
            ]
            num_scored = len(recall.value_ids)
            with torch.inference_mode():
                logits = model(input_ids=torch.tensor([ids])).logits[0, -num_scored - 1 : -1]
            wanted = float(torch.nn.functional.cross_entropy(logits, torch.tensor(recall.value_ids)))
            for mode in ("exact", "stock"):
                [cell] = cells_of(finished, mode, distance, pair.seed)
                assert cell.needle_nll == pytest.approx(wanted, abs=1e-4)
                assert abs(cell.needle_distance_tokens - distance) < 150


def cells_of(test: ContextTest, mode: str, distance: int, seed: int) -> list[Any]:
    key = mode, distance, seed
    return [cell for cell in test.cells if (cell.mode, cell.distance_tokens, cell.seed) == key]


def test_streaming_heads_without_sinks_know_nothing_beyond_their_reach(finished: ContextTest) -> None:
    """Two layers see two windows back, and at most two chunks."""
    for seed in range(2):
        near, far, farther = (cells_of(finished, "stream", distance, seed)[0] for distance in SMALL.distances)
        assert near.change > 1e-3
        assert far.distance_tokens == 256 and farther.distance_tokens == 512
        assert far.change == pytest.approx(0, abs=1e-9) and farther.change == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("mode", ["exact", "int4", "recent@50%", "question@50%", "stock"])
def test_the_same_prefix_changes_nothing(finished: ContextTest, mode: str) -> None:
    ids = finished.pairs[0].text_ids
    states, others = (finished._states(mode, ids, silent)[0] for _ in range(2))
    assert states.shape == (SEGMENT_TOKENS, 32)
    assert similarity(states, others) == pytest.approx(1, abs=1e-12)


def test_what_is_dropped_or_rounded_is_seen(finished: ContextTest) -> None:
    changes = {
        cell.mode: cell.change for cell in finished.cells if (cell.distance_tokens, cell.seed) == (512, 0)
    }
    assert all(value > 1e-4 for mode, value in changes.items() if mode != "stream")
    assert len(set(changes.values())) == len(changes)
    kv_bytes = {cell.mode: cell.kv_bytes for cell in finished.cells}
    assert (
        kv_bytes["int4"]
        < kv_bytes["exact"]
        == kv_bytes["stock"]
        == 2 * 2 * 2 * 8 * 4 * (900 - SEGMENT_TOKENS)
    )


def test_a_run_is_repeatable_and_can_be_taken_up(
    make_test: Callable[..., ContextTest], tmp_path: Path
) -> None:
    reaches = Reaches((500,), (0, 100), 2, ("exact", "stream"))
    whole, part = make_test(reaches), make_test(reaches)
    list(whole.run())
    part.cells = whole.cells[:3]
    path = tmp_path / "context.json"
    path.write_text(json.dumps(part.report()), encoding="utf-8")
    again = make_test(reaches)
    again.resume(path)
    assert len(list(again.run())) == whole.num_cells - 3 == 5
    assert again.cells == whole.cells


def test_measures_of_states() -> None:
    torch.manual_seed(0)
    states, others = torch.randn(7, 5).double() + 1, torch.randn(7, 5).double()
    assert similarity(states, states) == similarity(states, 3 * states) == 1
    assert similarity(states, -states) == pytest.approx(-1)
    cosines = torch.nn.functional.cosine_similarity(states[:, None], others[None], dim=-1)
    assert anisotropy(states, others) == pytest.approx(float(cosines.mean()))
    assert similarity(states, others) == pytest.approx(float(cosines.diagonal().mean()))
    assert change(1.0, 0.3) == 0 and change(0.3, 0.3) == 1 and change(0.65, 0.3) == pytest.approx(0.5)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_value_is_what_is_scored(name: str, tiny_model: Path) -> None:
    tokenizer = load_tokenizer(resolve(str(tiny_model)))
    needle = draw_needle(name, "1")
    lead_ids, value_ids = split_at_value(tokenizer, needle)
    assert tokenizer.decode(value_ids).strip(" .") == needle.value
    assert needle.sentence.startswith(tokenizer.decode([*lead_ids, *value_ids]).rstrip("."))
    assert needle.value not in tokenizer.decode(lead_ids)


def test_stretches_do_not_overlap(make_test: Callable[..., ContextTest], tiny_model: Path) -> None:
    book = Haystack.open("frankenstein", load_tokenizer(resolve(str(tiny_model))))
    for pair in make_test(Reaches((1000,), (0,), 4)).pairs:
        text, other = (_find(book.token_ids, ids) for ids in (pair.text_ids, pair.other_ids))
        assert abs(text - other) >= 1000
        assert pair.mixed_ids(0)[: 1000 - SEGMENT_TOKENS] == pair.other_ids[: 1000 - SEGMENT_TOKENS]
        assert pair.mixed_ids(0)[-SEGMENT_TOKENS:] == pair.text_ids[-SEGMENT_TOKENS:]


def _find(token_ids: list[int], wanted: list[int]) -> int:
    size = len(wanted)
    return next(idx for idx in range(len(token_ids)) if token_ids[idx : idx + size] == wanted)


def test_what_does_not_fit_is_refused_before_the_weights_are_loaded(
    make_test: Callable[..., ContextTest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(DoesNotFitError, match="the length is 2,049 tokens"):
        make_test(Reaches((2049,)))
    (tmp_path / "short.txt").write_text("It rained. " * 300, encoding="utf-8")
    with pytest.raises(UsageError, match=r"short.txt has [\d,]+ tokens, fewer than two stretches of 1,500"):
        make_test(Reaches((1500,), books=(str(tmp_path / "short.txt"),)))
