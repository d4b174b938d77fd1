"""The needle test: its questions, its scores, and that exact reading answers as stock transformers does."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import DynamicCache

from lcdoc.config import ReadSettings, Sampling
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.evaluate import whole as ways
from lcdoc.evaluate.grid import Cell, Grid, score
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.modes import switch
from lcdoc.evaluate.needle import NeedleTest, is_right, make_groups
from lcdoc.evaluate.stock import StockReader
from lcdoc.evaluate.templates import TEMPLATES, Needle, draw_needle
from lcdoc.fusion.excerpt import excerpt
from lcdoc.fusion.spans import cut_spans
from lcdoc.models import load_tokenizer, resolve
from lcdoc.tasks.ask import Reading
from lcdoc.tokens import tokenize

SMALL = Grid(lengths=(300, 900), depths=2, seeds=2, modes=("exact", "stream", "stock"))


@pytest.fixture(scope="module")
def finished(tiny_model: Path) -> NeedleTest:
    settings = ReadSettings(model=str(tiny_model), dtype="float32", chunk_tokens=128)
    test = NeedleTest(settings, SMALL)
    list(test.run())
    return test


def cell(**changes: object) -> Cell:
    base = Cell(
        "exact",
        1000,
        0.5,
        0,
        "copper",
        "1234567",
        1040,
        990,
        0.49,
        1.0,
        "It is 1234567.",
        True,
        "magic",
        "frankenstein",
        0,
    )
    return replace(base, **changes)


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        ("The number is 3254257.", True),
        ("3254257", True),
        ("It is 3,254,257, I believe", True),
        ("3254258", False),
        ("13254257", False),
        ("32542570", False),
        ("32 54257", False),
        ("", False),
    ],
)
def test_scoring(answer: str, right: bool) -> None:
    assert is_right(answer, "3254257") is right


@pytest.mark.parametrize(
    ("answer", "value", "right"),
    [
        ("It takes place in Hanoi.", "Hanoi", True),
        ("HANOI", "Hanoi", True),
        ("Hanoian food", "Hanoi", False),
        ("The password is KXR-4821.", "KXR-4821", True),
        ("KXR-48210", "KXR-4821", False),
        ("AKXR-4821", "KXR-4821", False),
        ("KXR 4821", "KXR-4821", False),
    ],
)
def test_scoring_of_words_and_codes(answer: str, value: str, right: bool) -> None:
    assert is_right(answer, value) is right


def test_scores_count_by_mode_and_length_and_compare_with_stock() -> None:
    cells = [
        cell(),
        cell(mode="stock"),
        cell(seed=1, answer="no", right=False),
        cell(seed=1, mode="stock", answer="yes: 1234567"),
        cell(length_tokens=4000, answer="none", right=False),
    ]
    assert score(cells) == {
        "exact": {
            "1000": {"cells": 2, "right": 1, "same_as_stock": 1},
            "4000": {"cells": 1, "right": 0, "same_as_stock": 0},
        },
        "stock": {"1000": {"cells": 2, "right": 2, "same_as_stock": 2}},
    }


def test_scores_beside_what_surroundings_alone_answer() -> None:
    cells = [cell(mode=mode, seed=seed, right=right) for mode, seed, right in (
        ("near", 0, True), ("near", 1, True), ("near", 2, False), ("parts", 0, True), ("parts", 1, False),
        ("parts", 2, True))]  # fmt: skip
    total = score(cells)
    assert (total["parts"]["1000"]["right_in_both"], total["parts"]["1000"]["right_near"]) == (1, 2)
    assert "right_near" not in score(cells[3:])["parts"]["1000"]


@pytest.mark.parametrize("depth", [0.0, 0.5, 1.0])
def test_near_reads_what_stands_around_the_needle(tiny_model: Path, depth: float) -> None:
    tokenizer = load_tokenizer(resolve(str(tiny_model)))
    needle = draw_needle("magic", "here")
    placed = Haystack.open("frankenstein", tokenizer).place(
        needle.sentence, length_tokens=9000, depth=depth, seed=1
    )
    spans = cut_spans(placed.tokens, 250)
    [around] = excerpt([placed.document], ways._around(spans, needle.sentence, 1000))
    whole, read = ("".join(page.text for page in document.pages) for document in (placed.document, around))
    found = whole.index(needle.sentence)
    assert whole[max(found - 1200, 0) : found + 1200] in read
    assert 1000 <= len(tokenize(tokenizer, [around]).token_ids) <= 2600


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_say_the_value_once_and_ask_for_its_key(name: str) -> None:
    needle = draw_needle(name, "1000 0.5 0")
    assert needle.sentence.count(needle.value) == 1 and is_right(needle.sentence, needle.value)
    assert needle.key in needle.sentence and needle.key in needle.question
    assert needle.value not in needle.question
    assert draw_needle(name, "1000 0.5 0") == needle != draw_needle(name, "1000 0.5 1")


def test_needles_of_one_reading_share_neither_key_nor_value() -> None:
    needles: list[Needle] = []
    for idx in range(20):
        needles.append(draw_needle("festival", f"1000 {idx} 0", needles))
    assert len({needle.key for needle in needles}) == len({needle.value for needle in needles}) == 20
    assert needles[0] == draw_needle("festival", "1000 0 0")


def test_a_shared_reading_answers_each_question_as_a_reading_for_it_alone(tiny_model: Path) -> None:
    settings = ReadSettings(model=str(tiny_model), chunk_tokens=128)
    grid = Grid(
        lengths=(700,), depths=3, seeds=1, modes=("exact", "int4", "stream", "stock"), shared_reading=True
    )
    test = NeedleTest(settings, grid)
    cells = list(test.run())
    assert len(cells) == grid.num_cells == 12
    assert len({id(question.document_ids) for question in test.questions}) == 1
    document = test._subject.tokenizer.decode(test.questions[0].document_ids)
    assert all(document.count(question.value) == 1 for question in test.questions)
    for idx, question in enumerate(test.questions):
        sheet = test._subject.sheet(question.document_ids, [question.question_ids], 64)
        for mode in grid.modes:
            [alone] = test._subject.replies(mode, sheet, 64)
            [cell] = [cell for cell in cells if (cell.mode, cell.depth) == (mode, idx / 2)]
            assert cell.answer == alone.text, (mode, idx)
            assert cell.kv_bytes == alone.kv_bytes > 0
    assert len({cell.answer for cell in cells if cell.mode == "exact"}) > 1


def test_templates_and_books_multiply_the_questions(tiny_model: Path) -> None:
    grid = Grid(
        lengths=(200,),
        depths=2,
        seeds=1,
        modes=("exact",),
        templates=("magic", "festival"),
        books=("frankenstein", "moby-dick"),
    )
    test = NeedleTest(ReadSettings(model=str(tiny_model)), grid)
    assert len(test.questions) == grid.num_cells == 8
    assert {(question.template, question.book) for question in test.questions} == {
        (template, book) for template in grid.templates for book in grid.books
    }
    list(test.run())
    report = test.report()
    assert report["complete"] and report["score"]["exact"]["200"]["cells"] == 8
    assert report["settings"]["template"] == "magic,festival"
    assert report["settings"]["haystack"] == "frankenstein,moby-dick"


def test_in_a_shared_reading_templates_take_turns_and_each_comes_to_every_depth(tiny_model: Path) -> None:
    grid = Grid(
        lengths=(400,), depths=2, seeds=1, templates=("magic", "festival", "password"), shared_reading=True
    )
    haystack = Haystack.open("frankenstein", load_tokenizer(resolve(str(tiny_model))))
    groups = [
        [(question.template, question.depth) for question in group] for group in make_groups(haystack, grid)
    ]
    assert groups == [
        [("magic", 0.0), ("festival", 1.0)],
        [("festival", 0.0), ("password", 1.0)],
        [("password", 0.0), ("magic", 1.0)],
    ]


def test_every_cell_is_read_in_every_mode(finished: NeedleTest) -> None:
    places = [(cell.length_tokens, cell.depth, cell.seed, cell.mode) for cell in finished.cells]
    wanted = [
        (length, depth, seed, mode)
        for length in (300, 900)
        for depth in (0.0, 1.0)
        for seed in (0, 1)
        for mode in ("exact", "stream", "stock")
    ]
    assert places == wanted and len(places) == SMALL.num_cells


def test_exact_answers_to_the_letter_as_stock(finished: NeedleTest) -> None:
    by_mode = {mode: [c.answer for c in finished.cells if c.mode == mode] for mode in SMALL.modes}
    assert by_mode["exact"] == by_mode["stock"]
    assert len(set(by_mode["stock"])) > 1, "a model that always answers the same would prove nothing"
    assert by_mode["stream"] != by_mode["stock"], "streaming heads do not see the whole of 900 tokens"


def test_the_prompt_and_the_answer_are_those_of_ask(tiny_model: Path) -> None:
    settings = ReadSettings(model=str(tiny_model), mode="exact", dtype="float32", chunk_tokens=128)
    test = NeedleTest(settings, Grid(lengths=(500,), depths=1, seeds=1, modes=("exact",)))
    [question], [cell] = test.questions, list(test.run())
    needle = draw_needle("magic", "500 0.5 0")
    placed = Haystack.open("frankenstein", test._subject.tokenizer).place(
        needle.sentence, length_tokens=500, depth=0.5, seed=0
    )
    reading = Reading([placed.document], settings, max_new_tokens=64, questions=[needle.question])
    assert reading._head_ids + reading.tokens.token_ids == question.document_ids
    assert reading._question_ids(needle.question) == question.question_ids
    answer = reading.ask(needle.question, Sampling(max_new_tokens=64), lambda text: None)
    assert answer.answer == cell.answer != ""


def test_stock_is_what_transformers_generates(finished: NeedleTest) -> None:
    model, question = finished._subject._model, finished.questions[0]
    ids = question.document_ids + question.question_ids
    switch(model, "stock")
    reader = StockReader(model)
    reader.prefill(ids)
    ours = list(reader.decode(lambda logits: int(logits.argmax()), (), 12))
    with torch.inference_mode():
        output = model.generate(
            torch.tensor([ids]),
            attention_mask=torch.ones(1, len(ids), dtype=torch.long),
            past_key_values=DynamicCache(),
            do_sample=False,
            max_new_tokens=12,
            eos_token_id=[],
            pad_token_id=0,
        )
    assert ours == output[0, len(ids) :].tolist()
    assert reader.cache.nbytes == 2 * 2 * 2 * 8 * 4 * (len(ids) + 12)  # layers, K and V, heads, dim, float32


def test_the_report_can_be_written_and_tells_its_making(finished: NeedleTest) -> None:
    report = json.loads(json.dumps(finished.report(), allow_nan=False))
    assert report["suite"] == "needle" and report["complete"] is True
    assert report["model"] == {
        "name": "tiny",
        "dtype": str(finished._subject._model.dtype).removeprefix("torch."),
    }
    assert report["versions"]["torch"] == torch.__version__
    assert report["settings"]["lengths"] == [300, 900] and report["settings"]["depths"] == [0.0, 1.0]
    assert len(report["cells"]) == SMALL.num_cells
    assert report["score"]["exact"]["300"]["cells"] == 4
    assert report["score"]["exact"]["300"]["same_as_stock"] == 4


def test_an_unfinished_report_says_so(tiny_model: Path) -> None:
    test = NeedleTest(ReadSettings(model=str(tiny_model)), Grid(lengths=(200,), depths=1, seeds=2))
    next(test.run())
    assert test.report()["complete"] is False and len(test.report()["cells"]) == 1


def test_what_does_not_fit_the_window_is_refused_before_the_weights_are_loaded(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(DoesNotFitError, match="the model's window is 2,048 tokens"):
        NeedleTest(ReadSettings(model=str(tiny_model)), Grid(lengths=(2040,), modes=("stock",)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lengths": (0,)}, "lengths must be 1 or more, not 0"),
        ({"depths": 0}, "depths must be 1 or more, not 0"),
        ({"seeds": -1}, "seeds must be 1 or more, not -1"),
        (
            {"modes": ("exact", "fast")},
            "modes must be some of exact, stream, duo, bfloat16, int8, int4, stock, pi, ntk, yarn, longrope, "
            "self-extend, lm-infinite, parts, kv, words, first, near or a policy and what it keeps, "
            "such as question@25%, or duo or random and the share of heads that stream, such as duo@75%, "
            "and behind lcdoc's own \\+sparse for reading by blocks, \\+pages for answering by pages, "
            "\\+int8 or \\+int4 for how keys and values are stored, not 'fast'",
        ),
        ({"modes": ()}, "modes must be some of .*, not none"),
        (
            {"templates": ("magic", "x")},
            "templates must be some of magic, locker, archive, festival, password, not 'x'",
        ),
        ({"templates": ()}, "templates must be some of .*, not none"),
        ({"depths": 21, "shared_reading": True}, "a shared reading has room for 20 depths, not 21"),
    ],
)
def test_a_wrong_grid_is_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        replace(Grid(), **changes)


def test_depths_are_spread_from_start_to_end() -> None:
    assert Grid(depths=5).depth_shares == (0.0, 0.25, 0.5, 0.75, 1.0)
    assert Grid(depths=1).depth_shares == (0.5,)
