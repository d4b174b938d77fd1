"""`--evict` and `--keep` through the real entry point."""

import json

import pytest

from lcdoc.models.folders import conversions_folder

SHORT = ("--max-new-tokens", "24", "--chunk-tokens", "256")
QUESTION = "What is the special magic number for copper?"


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    """Some 1,500 tokens on three pages, the number on the second."""
    path = tmp_path_factory.mktemp("docs") / "book.txt"
    filler = "The ice lay all around the ship, and the men waited for the wind to change. " * 28
    needle = "One of the special magic numbers for copper is: 3254257. "
    path.write_text("\f".join((filler, filler + needle, filler)))
    return str(path)


@pytest.mark.model
def test_a_question_known_ahead_keeps_its_answer_and_the_receipt_counts_the_rest(run_lcdoc, book):
    whole = json.loads(run_lcdoc("ask", book, QUESTION, "--json", *SHORT).stdout)
    result = run_lcdoc("ask", book, QUESTION, "--json", *SHORT, "--keep", "25%")
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert "3254257" in whole["answer"] and "3254257" in answer["answer"]
    plan, receipt = answer["plan"], answer["receipt"]
    assert plan["mode"] == "evict" and plan["evict"] == "question"
    assert plan["keep_tokens"] == int(receipt["tokens_total"] * 0.25)
    assert not receipt["exact"] and receipt["tokens_read"] == receipt["tokens_total"]
    assert 0.2 < receipt["kv_share_kept"]["retrieval"] < 0.35
    lost = {page["page"]: page["share_evicted"] for page in receipt["pages_evicted"]}
    assert lost.keys() == {1, 2, 3} and all(0.5 < share < 1 for share in lost.values())
    assert any("25% of the document's keys and values kept" in note for note in receipt["notes"])
    assert "25% of the document's keys and values kept" in result.stderr
    assert answer["memory"]["kv_bytes"] < 0.4 * whole["memory"]["kv_bytes"]


@pytest.mark.model
def test_two_questions_share_one_reading_that_listened_to_both(run_lcdoc, book):
    result = run_lcdoc(
        "ask", book, "-q", QUESTION, "-q", "What lay around the ship?", "--json", *SHORT, "--keep", "400"
    )
    first, second = json.loads(result.stdout)["answers"]
    assert "3254257" in first["answer"] and "ice" in second["answer"].lower()
    assert first["plan"]["keep_tokens"] == second["plan"]["keep_tokens"] == 400


@pytest.mark.model
def test_a_share_above_the_document_drops_nothing(run_lcdoc, book):
    answer = json.loads(run_lcdoc("ask", book, QUESTION, "--json", *SHORT, "--keep", "6000").stdout)
    assert answer["receipt"]["exact"] and answer["plan"]["evict"] is None


@pytest.mark.model
@pytest.mark.parametrize(
    "options,words",
    [
        (("--evict", "none"), "evict must be one of recent"),
        (("--keep", "0%"), "such as 25%"),
        (("--keep", "100%"), "such as 25%"),
        (("--keep", "12.5"), "such as 25%"),
        (("--keep", "half"), "such as 25%"),
        (("--evict", "snapkv", "--mode", "exact"), "--mode exact drops nothing"),
        (("--keep", "25%", "--mode", "stream"), "--mode stream has none"),
        (("--keep", "25%", "--kv-dtype", "int8"), "--kv-dtype int8"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_can_not_go_together_is_refused_in_one_line(run_lcdoc, book, options, words):
    result = run_lcdoc("ask", book, QUESTION, *options)
    assert result.returncode == 2 and words in result.stderr.splitlines()[-1]
    assert result.stdout == "" and result.stderr.count("lcdoc:") == 1


@pytest.fixture
def narrow_model(tmp_path):
    """The default model as if its window were 1,024 tokens."""
    folder = tmp_path / "narrow"
    folder.mkdir()
    for file in next(conversions_folder().iterdir()).iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").unlink()
    text = json.dumps(config | {"max_position_embeddings": 1024})
    (folder / "config.json").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.model
def test_a_document_longer_than_the_window_is_read_whole_where_eviction_is_asked_for(
    run_lcdoc, tmp_path, narrow_model
):
    path = tmp_path / "long.txt"
    path.write_text("The ice lay all around the ship, and the men waited for the wind to change. " * 80)
    ask = ("ask", path, "What lay around the ship?", "--model", narrow_model)
    refused = run_lcdoc(*ask, "--fusion", "off", "--extend", "none")
    assert refused.returncode == 4 and "--keep 512" in refused.stderr
    too_much = run_lcdoc(*ask, "--keep", "99%")
    assert too_much.returncode == 2 and "window of 1,024 has room for" in too_much.stderr
    options = ("--evict", "recent", "--keep", "300", "--json", *SHORT)
    answer = json.loads(run_lcdoc(*ask, *options).stdout)
    receipt = answer["receipt"]
    assert receipt["tokens_total"] > 1024 and receipt["tokens_read"] == receipt["tokens_total"]
    assert receipt["positions"] == "closed up" and not receipt["exact"]
    assert "ice" in answer["answer"].lower()
