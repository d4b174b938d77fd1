"""`lcdoc eval ruler` as it is run, and the texts that its tasks are made of."""

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lcdoc.config import ReadSettings
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.ruler.drawn import Drawn, Wanted
from lcdoc.evaluate.ruler.frequent_words import counts
from lcdoc.evaluate.ruler.passages import Passages
from lcdoc.evaluate.ruler.plan import DRAWN, RulerPlan
from lcdoc.evaluate.ruler.suite import RulerCell, RulerTest, score
from lcdoc.models import load_tokenizer, resolve

LENGTHS = (1100, 1700)
TOWN_ENDS = ("ton", "ham", "ford", "field", "wick")
NEEDLE = re.compile(r"One of the special magic numbers for (\w+) is: (\d{7})\.")


@pytest.fixture(scope="module")
def book(tiny_model: Path) -> Haystack:
    return Haystack.open("frankenstein", load_tokenizer(resolve(str(tiny_model))))


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    rows = [
        {
            "context": f"The mill of {town} burnt down in {1800 + idx}. " + f"Much is told of {town}. " * 10,
            "question": f"When did the mill of {town} burn down?",
            "answers": [str(1800 + idx), f"the year {1800 + idx}"],
            "metric": "f1" if idx else "choice",
        }
        for idx, town in enumerate(f"{name}{end}" for name in ("As", "Bri", "Cor") for end in TOWN_ENDS)
    ]
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def draw(book: Haystack, task: str, length: int = 1100, seed: str = "0") -> tuple[Drawn, str]:
    """What a task draws, and its text."""
    drawn = DRAWN[task](Wanted(book, length, seed))
    return drawn, book.tokenizer.decode(drawn.token_ids)


def test_from_end_to_end(run_lcdoc, tiny_model: Path, questions: Path, tmp_path: Path) -> None:
    result = run_lcdoc(
        *("eval", "ruler", "--model", tiny_model, "--lengths", "700", "--samples", "1"),
        *("--tasks", "single,multivalue,qa", "--qa", questions, "--mode", "exact,stock"),
        *("--json", tmp_path / "ruler.json"),
    )
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "ruler.json").read_text(encoding="utf-8"))
    assert report["suite"] == "ruler" and report["complete"]
    assert [(cell["task"], cell["mode"]) for cell in report["cells"]] == [
        (task, mode) for task in ("single", "multivalue", "qa") for mode in ("exact", "stock")
    ]
    assert [len(cell["answers"]) for cell in report["cells"][::2]] == [1, 4, 2]
    assert all(550 < cell["document_tokens"] <= 700 for cell in report["cells"])
    assert report["score"]["exact"]["700"]["all"] == {"cells": 3, "mean": 0}
    rows = [line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["700"]]
    assert rows == [["700", task, "0.000", "0.000"] for task in ("single", "multivalue", "qa", "all")]
    assert "6 of 6: stock, 700 tokens, qa, sample 0: 0.00: " in result.stderr
    assert "left out" not in result.stderr


def test_without_questions_their_task_is_left_out_and_that_is_said(run_lcdoc, tiny_model: Path) -> None:
    result = run_lcdoc(
        *("eval", "ruler", "--model", tiny_model, "--lengths", "1000", "--samples", "1", "--mode", "exact")
    )
    assert result.returncode == 0, result.stderr
    assert "the task qa is left out: it needs a file of questions, given with --qa" in result.stderr
    rows = [line.split()[1] for line in result.stdout.splitlines() if line.split()[:1] == ["1,000"]]
    assert rows == [*DRAWN, "all"]


def test_mistakes_are_one_line(call_lcdoc, tiny_model: Path) -> None:
    for options, message in (
        (("--tasks", "qa"), "the task qa needs questions; give a file of them with --qa"),
        (("--tasks", "common"), "more than the 300 of --lengths; choose longer ones"),
    ):
        result = call_lcdoc("eval", "ruler", "--model", tiny_model, "--lengths", "300", *options)
        assert result.returncode == 2 and result.stdout == "", options
        assert message in result.stderr and "Traceback" not in result.stderr


def test_questions_whose_texts_do_not_go_with_the_length_are_refused(book: Haystack, questions: Path) -> None:
    with pytest.raises(UsageError, match="no question has a text of 50 tokens or fewer"):
        Passages(questions).draw(Wanted(book, 50, "0"))
    with pytest.raises(UsageError, match=r"qa has only enough for 1,\d+ tokens, fewer than the 9,000"):
        Passages(questions).draw(Wanted(book, 9000, "0"))


@pytest.mark.parametrize("task", DRAWN)
@pytest.mark.parametrize("length", LENGTHS)
def test_texts_fill_their_length_and_hold_every_answer(book: Haystack, task: str, length: int) -> None:
    for seed in ("0", "1"):
        drawn, text = draw(book, task, length, seed)
        assert 0.85 * length < len(drawn.token_ids) <= length
        assert all(answer in text for answer in drawn.answers)
        assert drawn.score(" ".join(drawn.answers)) == 1
        assert drawn.score(drawn.question) == 0, "a question that gives its answer away proves nothing"


@pytest.mark.parametrize("task", DRAWN)
def test_a_seed_draws_the_same_and_another_draws_others(book: Haystack, task: str) -> None:
    again = Haystack.open("frankenstein", book.tokenizer)
    assert draw(book, task)[0] == draw(again, task)[0]
    assert draw(book, task)[0].answers != draw(book, task, seed="1")[0].answers


@pytest.mark.parametrize(
    ("task", "keys"), [("single", 1), ("multikey", 4), ("multivalue", 1), ("multiquery", 4)]
)
def test_needles_in_a_book(book: Haystack, task: str, keys: int) -> None:
    drawn, text = draw(book, task)
    needles = NEEDLE.findall(" ".join(text.split()))
    assert len({key for key, _ in needles}) == keys and len({value for _, value in needles}) == len(needles)
    asked = [key for key, value in needles if value in drawn.answers]
    assert len(asked) == len(drawn.answers) == (4 if task in ("multivalue", "multiquery") else 1)
    assert all(key in drawn.question for key in asked)
    assert sum(key in drawn.question for key, _ in needles) == len(asked), "the others are not asked for"


def test_a_stack_is_nothing_but_needles(book: Haystack) -> None:
    drawn, text = draw(book, "stack")
    needles = dict(NEEDLE.findall(" ".join(text.split())))
    assert NEEDLE.sub("", " ".join(text.split())).strip() == "" and len(needles) > 20
    [key] = [key for key in needles if key in drawn.question]
    assert drawn.answers == (needles[key],)


def test_variables_are_followed_through_their_chain(book: Haystack) -> None:
    drawn, text = draw(book, "variables")
    given = re.findall(r"VAR ([A-Z]{5}) = (\w+)\.", " ".join(text.split()))
    values: dict[str, str] = {}
    for name, source in given:
        values[name] = values.get(source, source)
    assert len(given) == len(values) == 10 and len(set(values.values())) == 2
    [asked] = [value for value in set(values.values()) if value in drawn.question]
    assert set(drawn.answers) == {name for name, value in values.items() if value == asked}
    assert len(drawn.answers) == 5


def test_common_words_are_the_most_common(book: Haystack) -> None:
    drawn, text = draw(book, "common")
    numbered = re.findall(r"(\d+)\. ([a-z]+)", text)
    assert [int(number) for number, _ in numbered] == list(range(1, len(numbered) + 1))
    times = Counter(word for _, word in numbered)
    assert set(drawn.answers) == {word for word, _ in times.most_common(10)}
    assert {times[word] for word in drawn.answers} == {10}
    assert {often for word, often in times.items() if word not in drawn.answers} == {1}
    assert all(sum(answer in word for word in times) == 1 for answer in drawn.answers)


@pytest.mark.parametrize("length", [700, 1100, 1900])
def test_frequent_words_are_the_most_frequent(book: Haystack, length: int) -> None:
    drawn, text = draw(book, "frequent", length)
    times = Counter(text.split())
    (noise, most), *words = times.most_common(5)
    assert noise == "..." and most == pytest.approx(4 * words[0][1], abs=3)
    assert [word for word, _ in words[:3]] == list(drawn.answers)
    assert words[2][1] > words[3][1], "the third is more frequent than the fourth"


def test_word_counts_follow_a_zeta_distribution() -> None:
    assert counts(1000)[:5] == [608, 152, 68, 38, 24]
    assert counts(1000)[-1] == 1 and sum(counts(1000)) == pytest.approx(1000, rel=0.02)
    assert all(counts(num_words)[3] > counts(num_words)[4] for num_words in range(100, 3000))


def test_a_question_stands_with_its_text_among_those_of_others(book: Haystack, questions: Path) -> None:
    passages = Passages(questions)
    assert len(passages.items) == 14, "a choice between letters can't be looked for"
    wanted = Wanted(book, 1100, "3")
    drawn = passages.draw(wanted)
    [item] = [item for item in passages.items if item.question == drawn.question]
    text = " ".join(book.tokenizer.decode(drawn.token_ids).split())
    assert " ".join(item.context.split()) in text and len(drawn.token_ids) <= 1100
    others = [other for other in passages.items if other is not item]
    assert sum(other.context.split(".")[0] in text for other in others) >= 1
    assert drawn.score(f"In {item.answers[0]}.") == 1 and drawn.score("In 1799.") == 0
    assert passages.draw(wanted) == drawn
    assert len({passages.draw(Wanted(book, 1100, str(seed))).question for seed in range(9)}) > 2


def test_a_score_is_the_share_of_the_answers_that_were_given() -> None:
    drawn = Drawn([], "Which?", ("alpha", "Beta"))
    assert [drawn.score(said) for said in ("", "ALPHA", "beta, alpha", "no")] == [0, 0.5, 1, 0]
    assert Drawn([], "Which?", ("alpha", "Beta"), one_is_enough=True).score("it is beta") == 1


def test_scores_by_mode_length_and_task() -> None:
    def cell(task: str, points: float, mode: str = "exact") -> RulerCell:
        return RulerCell(mode, task, 1000, 0, 990, 1030, 0.1, 1, ["x"], "", points)

    totals = score([cell("single", 1), cell("single", 0), cell("common", 0.25), cell("single", 1, "int4")])
    assert totals["exact"]["1000"] == {
        "single": {"cells": 2, "mean": 0.5},
        "common": {"cells": 1, "mean": 0.25},
        "all": {"cells": 3, "mean": pytest.approx(1.25 / 3)},
    }
    assert totals["int4"]["1000"]["single"] == {"cells": 1, "mean": 1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples must be 1 or more, not 0"),
        ({"tasks": ("sums",)}, "tasks must be some of single, multikey, stack, .*, not 'sums'"),
        ({"lengths": (0,)}, "lengths must be 1 or more, not 0"),
        ({"tasks": ()}, "tasks must be some of .*, not none"),
        ({"modes": ("fast",)}, "modes must be some of"),
    ],
)
def test_a_wrong_plan_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RulerPlan(**changes)


def test_what_does_not_fit_is_refused_before_the_weights_are_loaded(
    tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    with pytest.raises(DoesNotFitError, match="the model's window is 2,048 tokens"):
        RulerTest(ReadSettings(model=str(tiny_model)), RulerPlan(lengths=(2040,), tasks=("single",)))
