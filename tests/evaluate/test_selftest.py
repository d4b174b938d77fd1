"""`lcdoc selftest` as it is run, and that it reads as `lcdoc ask` does."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents import load_document
from lcdoc.documents.document import Document
from lcdoc.errors import UsageError
from lcdoc.evaluate import selftest
from lcdoc.evaluate.haystack import Haystack
from lcdoc.evaluate.selftest import Layout, SelfTest
from lcdoc.tasks.ask import Reading

SAMPLING = Sampling(max_new_tokens=16)


@pytest.fixture(scope="module")
def book(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some 900 tokens of a novel on three pages."""
    path = tmp_path_factory.mktemp("docs") / "book.txt"
    text = Haystack.open("moby-dick", None).text
    path.write_text("\f".join(text[start : start + 800] for start in (30_000, 40_000, 50_000)), "utf-8")
    return path


@pytest.fixture
def make_test(tiny_model: Path, book: Path) -> Callable[..., SelfTest]:
    def make(layout: Layout = Layout(3, 1), path: Path = book, **changes: Any) -> SelfTest:
        callbacks = {name: changes.pop(name) for name in ("on_plan", "observer") if name in changes}
        settings = ReadSettings(model=str(tiny_model), device="cpu", chunk_tokens=256, **changes)
        return SelfTest([load_document(str(path))], settings, SAMPLING, layout, **callbacks)

    return make


def test_from_end_to_end_as_json(
    run_lcdoc, json_schema: Callable[[str], Any], tiny_model: Path, book: Path
) -> None:
    options = ("--model", tiny_model, "--depths", "2", "--keep", "50%", "--max-new-tokens", "16")
    result = run_lcdoc("selftest", book, *options, "--json")
    assert result.returncode == 0, result.stderr
    report = json.loads(result.stdout)
    json_schema("selftest").validate(report)
    assert (report["schema_version"], report["complete"]) == (1, True)
    assert (report["num_needles"], report["num_asked"], report["num_found"]) == (2, 2, 0)
    assert report["recall"] == 0 and report["plan"]["evict"] == "question"
    first, last = report["needles"]
    assert (first["depth"], first["page"], last["depth"], last["page"]) == (0.0, 1, 1.0, 3)
    assert first["exact_finds"] == last["exact_finds"] == "no"
    assert "plan: as asked (50% of the document's keys" in result.stderr
    assert result.stderr.count("plan: ") == 1 and "MiB" in result.stderr


def test_from_end_to_end_as_a_table(run_lcdoc, tiny_model: Path, book: Path) -> None:
    options = ("--model", tiny_model, "--depths", "2", "--mode", "exact", "--max-new-tokens", "16")
    result = run_lcdoc("selftest", book, *options, "--min-recall", "50%")
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == "lcdoc: 0 of 2 found, less than --min-recall 50%"
    lines = result.stdout.splitlines()
    assert lines[0].split() == ["depth", "where", "found", "answer"]
    assert lines[1].startswith("0%     page 1  no     (wanted ")
    assert lines[2].startswith("100%   page 3  no     (wanted ")
    assert lines[3:] == ["read as: exact, 100% of keys and values held", "0 of 2 found"]


def test_mistakes_are_one_line_and_those_of_ask(call_lcdoc, tiny_model: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("The ice lay all around the ship. " * 600, "utf-8")
    (tmp_path / "empty.txt").write_text(" \n", "utf-8")
    (tmp_path / "short.txt").write_text("The ice lay all around the ship. ", "utf-8")
    for name, options, code in (
        ("long.txt", ("--fusion", "off"), 4),
        ("empty.txt", (), 3),
        ("none.txt", (), 3),
        ("short.txt", ("--budget", "20MB"), 4),
        ("short.txt", ("--mode", "duo"), 2),
    ):
        result = call_lcdoc("selftest", name, "--model", tiny_model, *options)
        assert result.returncode == code and result.stdout == "", (name, result.stderr)
        asked = call_lcdoc("ask", name, "-q", "Where is it?", "--model", tiny_model, *options)
        words = [output.stderr.splitlines()[-1].split() for output in (result, asked)]
        assert asked.returncode == code and words[0][-12:] == words[1][-12:]
    for options, message in (
        (("--depths", "0"), "depths must be 1 or more, not 0"),
        (("--depths", "21"), "depths must be 20 or fewer, not 21"),
        (("--seeds", "0"), "seeds must be 1 or more, not 0"),
        (("--min-recall", "0.9"), "--min-recall must be a share from 0% to 100%, not '0.9'"),
        (("--min-recall", "101%"), "--min-recall must be a share"),
    ):
        result = call_lcdoc("selftest", "short.txt", "--model", tiny_model, *options)
        assert result.returncode == 2 and result.stdout == ""
        assert message in result.stderr and "Traceback" not in result.stderr


def needles_in(documents: tuple[Document, ...], test: SelfTest) -> int:
    text = "\n".join(page.text for document in documents for page in document.pages)
    return sum(trial.sentence in text for trial in test.trials)


@pytest.mark.parametrize(
    ("changes", "readings"),
    [
        ({}, [3, 3]),
        ({"mode": "stream", "sink_size": 8, "recent_size": 64}, [3, 3]),
        ({"kv_dtype": "int4"}, [3, 3]),
        ({"evict": "snapkv", "keep": "50%"}, [3, 3]),
        ({"keep": "50%"}, [1] * 6),
    ],
    ids=str,
)
def test_one_reading_serves_all_unless_it_listens_to_the_question(
    make_test: Callable[..., SelfTest], changes: dict[str, Any], readings: list[int]
) -> None:
    seen: list[tuple[Document, ...]] = []
    plans = []

    def on_plan(reading: Reading) -> None:
        seen.append(reading.documents)
        plans.append(reading.plan)

    test = make_test(Layout(3, 2), on_plan=on_plan, **changes)
    list(test.run())
    assert [needles_in(documents, test) for documents in seen] == readings
    assert len(test.trials) == test.num_trials == 6
    assert len({trial.sentence for trial in test.trials}) == 6
    assert [trial.depth for trial in test.trials] == [0.0, 0.5, 1.0] * 2
    # Asked by itself, each needle's document is planned for and answered in the very same way.
    questions = [trial.question for trial in test.trials][: readings[0]]
    asked = Reading(seen[0], test._settings, max_new_tokens=16, questions=questions)
    assert replace(asked.plan, predicted_peak_bytes=0) == replace(plans[0], predicted_peak_bytes=0)
    for trial in test.trials[: readings[0]]:
        assert asked.ask(trial.question, SAMPLING, lambda text: None).answer == trial.answer


def test_no_needle_says_what_the_document_says_already(
    make_test: Callable[..., SelfTest], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(selftest, "TEMPLATES", {"festival": None, "magic": None})
    from lcdoc.evaluate.templates import CITIES

    path = tmp_path / "cities.txt"
    path.write_text(f"They saw {', '.join(CITIES)}. Then they went home.", "utf-8")
    [group] = make_test(path=path)._groups
    assert [planted.template for planted in group] == ["magic"] * 3


def test_the_model_is_loaded_once(
    make_test: Callable[..., SelfTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lcdoc.tasks import host

    loads = []
    load = host.load_model
    monkeypatch.setattr(host, "load_model", lambda *args, **kw: (loads.append(kw), load(*args, **kw))[1])
    list(make_test(keep="50%").run())
    assert len(loads) == 1
    loads.clear()
    list(make_test(weights="int8").run())
    assert [load["weights"] for load in loads] == ["int8", "model"]  # the exact reading needs them whole


def test_a_miss_is_the_settings_own_where_an_exact_reading_finds_it(
    make_test: Callable[..., SelfTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    values: dict[str, str] = {}
    ask = Reading.ask

    def knowing(reading: Reading, question: str, *rest: Any) -> Any:
        answer = ask(reading, question, *rest)
        return answer if reading.plan.loss else replace(answer, answer=f"It is {values[question]}.")

    monkeypatch.setattr(Reading, "ask", knowing)
    test = make_test(keep="50%")
    values |= {planted.needle.question: planted.needle.value for planted in test._groups[0][:2]}
    values[test._groups[0][2].needle.question] = "unknown"
    list(test.run())
    assert [trial.exact_finds for trial in test.trials] == ["yes", "yes", "no"]
    assert test.num_found == 0
    exact = make_test(mode="exact")
    list(exact.run())
    assert [trial.found for trial in exact.trials] == [True, True, False]
    assert [trial.exact_finds for trial in exact.trials] == [None] * 3


def test_an_exact_reading_that_does_not_fit_is_said_so(
    make_test: Callable[..., SelfTest], tmp_path: Path
) -> None:
    path = tmp_path / "long.txt"
    path.write_text(Haystack.open("moby-dick", None).text[30_000:37_000], "utf-8")
    test = make_test(Layout(2, 1), path=path, evict="recent", keep="300")
    list(test.run())
    assert test.answers[0].receipt.tokens_total > 2048
    assert [trial.exact_finds for trial in test.trials] == ["does not fit"] * 2


@pytest.mark.parametrize("form", ["text", "json"])
def test_an_interrupt_shows_what_was_done(
    call_lcdoc,
    tiny_model: Path,
    book: Path,
    json_schema: Callable[[str], Any],
    form: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ask, asked = Reading.ask, []

    def interrupted(reading: Reading, *rest: Any) -> Any:
        asked.append(rest)
        answer = ask(reading, *rest)
        return replace(answer, finish_reason="interrupted") if len(asked) == 3 else answer

    monkeypatch.setattr(Reading, "ask", interrupted)
    options = ("--model", tiny_model, "--mode", "exact", "--max-new-tokens", "8")
    result = call_lcdoc("selftest", book, *options, *(["--json"] if form == "json" else []))
    assert result.returncode == 130 and "interrupted after 2 of 5 sentences" in result.stderr
    if form == "json":
        report = json.loads(result.stdout)
        json_schema("selftest").validate(report)
        assert not report["complete"] and report["num_asked"] == len(report["needles"]) == 2
    else:
        assert result.stdout.splitlines()[-1] == "0 of 2 found" and result.stdout.count("(wanted ") == 2


def test_a_layout_without_a_depth_is_refused() -> None:
    with pytest.raises(UsageError, match="depths must be 1 or more"):
        Layout(0)
    assert Layout(1).depth_shares == (0.5,) and Layout(3).depth_shares == (0.0, 0.5, 1.0)


@pytest.mark.model
def test_the_default_model_finds_what_an_exact_reading_holds(run_lcdoc, book: Path) -> None:
    options = ("--depths", "2", "--mode", "stream", "--sink-size", "4", "--recent-size", "128")
    result = run_lcdoc("selftest", book, *options, "--json")
    assert result.returncode == 0, result.stderr
    first, last = json.loads(result.stdout)["needles"]
    assert last["found"] and last["exact_finds"] is None
    assert not first["found"] and first["exact_finds"] == "yes"
