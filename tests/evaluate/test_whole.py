"""Texts longer than the window: parts, kv, words and first, as `lcdoc eval needle`, `ruler` and `qa` read them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lcdoc.config import ReadSettings, Sampling
from lcdoc.errors import UsageError
from lcdoc.evaluate.grid import Grid
from lcdoc.evaluate.needle import NeedleTest
from lcdoc.evaluate.perplexity import Stretches
from lcdoc.evaluate.ruler.plan import RulerPlan
from lcdoc.evaluate.ruler.suite import RulerTest
from lcdoc.tasks.opening import open_reading


@pytest.fixture(scope="module", autouse=True)
def _judged_by_words() -> Iterator[None]:
    """How likely a passage makes a question tells nothing in a random model."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lcdoc.tasks.parts_sweep.num_candidates", lambda num_spans: 0)
        yield


@pytest.fixture(scope="module")
def small_window(write_tiny_model) -> Path:
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=3, window=512, spread=0.2)


@pytest.fixture(scope="module")
def finished(small_window: Path) -> NeedleTest:
    modes = ("first", "words", "parts", "kv", "ntk")
    grid = Grid(lengths=(1600,), depths=3, seeds=1, modes=modes, shared_reading=True)
    test = NeedleTest(ReadSettings(model=str(small_window)), grid)
    list(test.run())
    return test


def test_what_stood_before_the_model(finished: NeedleTest) -> None:
    seen = {
        mode: [cell.seen for cell in finished.cells if cell.mode == mode] for mode in finished._grid.modes
    }
    # The question names the needle's rare words; the window holds a third of the text.
    assert seen["words"] == [True, True, True]
    assert seen["first"] == [True, False, False]
    assert seen["parts"] == seen["kv"] == [True, True, True]
    assert seen["ntk"] == [None, None, None]


@pytest.mark.parametrize("fusion", ["parts", "kv"])
def test_parts_answer_as_a_users_reading_does(finished: NeedleTest, small_window: Path, fusion: str) -> None:
    questions = finished.questions
    settings = ReadSettings(model=str(small_window), fusion=fusion)
    texts = [question.text for question in questions]
    reading = open_reading([questions[0].document], settings, max_new_tokens=64, questions=texts)
    answers = [reading.ask(text, Sampling(), lambda piece: None).answer.strip() for text in texts]
    assert answers == [cell.answer for cell in finished.cells if cell.mode == fusion]


def test_questions_from_a_file(run_lcdoc, small_window: Path, tmp_path: Path) -> None:
    text = "Nothing happened on that day, nor on the day after it. " * 40 + "The mill burnt down in 1876. "
    rows = [{"id": "mill", "context": text, "question": "When did the mill burn?", "answers": ["1876"]}]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row | {"metric": "contains"}) for row in rows))
    result = run_lcdoc(
        *(
            "eval",
            "qa",
            tmp_path / "q.jsonl",
            "--model",
            small_window,
            "--mode",
            "first,words,parts,self-extend",
        ),
        *("--json", tmp_path / "qa.json"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "qa.json").read_text("utf-8"))
    assert [cell["mode"] for cell in report["cells"]] == ["first", "words", "parts", "self-extend"]
    assert all(cell["prefill_s"] > 0 and cell["kv_bytes"] > 0 for cell in report["cells"])


def test_several_values_from_places_far_apart(small_window: Path) -> None:
    plan = RulerPlan(lengths=(1600,), tasks=("multivalue",), samples=1, modes=("first", "words", "parts"))
    test = RulerTest(ReadSettings(model=str(small_window)), plan)
    seen = {cell.mode: cell.seen for cell in test.run()}
    [setting] = test.settings
    first = setting.drawn.score(test._subject.tokenizer.decode(setting.drawn.token_ids[:440]))
    assert seen["first"] == first < min(seen["words"], seen["parts"])


def test_only_where_questions_are_answered() -> None:
    with pytest.raises(UsageError, match="modes must be some of .*, not 'parts'"):
        Stretches(modes=("parts",))
