"""Summaries through the real entry point: at once, in parts, with their pages, interrupted and resumed."""

import json
import re
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from lcdoc.cli.summary_text import places_of
from lcdoc.config import ReadSettings
from lcdoc.documents import load_document
from lcdoc.models.folders import summaries_folder
from lcdoc.tasks.summarize.draft import Draft
from lcdoc.tasks.summarize.narrator import Narrator
from lcdoc.tasks.summarize.summarize import Summarizer, summarize
from lcdoc.tasks.summarize.summary import Place
from lcdoc.tasks.summarize.wish import Wish

WINDOW = 768
NAMES = (
    "anchor",
    "bellows",
    "copper",
    "dragon",
    "ember",
    "falcon",
    "garnet",
    "harbor",
    "island",
    "jasper",
    "kettle",
)


@pytest.fixture(scope="module")
def tiny(write_tiny_model):
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=WINDOW, spread=0.2)


def page_text(number):
    """About 100 tokens that no other page has."""
    name = NAMES[number % len(NAMES)] + "aeiou"[number // len(NAMES)]
    return (
        f"On day {number} the crew found the {name} under grey ice. "
        f"Captain {name.title()}son wrote that {name} was worth {number}00 crowns. "
        f"Nobody aboard had seen such {name} before this voyage."
    )


@pytest.fixture
def write_book(tmp_path):
    def write(num_pages, name="book.txt"):
        (tmp_path / name).write_text("\f".join(page_text(number) for number in range(1, num_pages + 1)))
        return tmp_path / name

    return write


@pytest.fixture
def run(call_lcdoc, json_schema, tiny):
    def call(*words, code=0):
        done = call_lcdoc("summarize", *words, "--model", tiny, "--json")
        assert done.returncode == code, done.stderr
        if code:
            return done.stdout, done.stderr
        summary = json.loads(done.stdout)
        json_schema("summary").validate(summary)
        return summary, done.stderr

    return call


@pytest.fixture
def first_sentences(monkeypatch):
    """A model that writes the first sentence of each page it is given; returns what it was asked."""
    asked = []

    def write_all(self, orders, rows, chunk_tokens=None):
        for number, order in enumerate(orders):
            pages = [page for document in order.documents for page in document.pages]
            asked.append((order.request, [page.text for page in pages]))
            firsts = (re.split(r"\.\s", page.text)[0].rstrip(".") + "." for page in pages)
            yield number, Draft.of(" ".join(firsts).replace("found", "discovered"), cut=False)

    monkeypatch.setattr(Narrator, "write_all", write_all)
    return asked


def test_what_fits_the_window_is_read_at_once(run, write_book):
    summary, told = run(write_book(3))
    receipt = summary["receipt"]
    assert (receipt["method"], receipt["parts"], receipt["levels"]) == ("exact", 1, 0)
    assert receipt["tokens_read"] == receipt["tokens_total"] > 100
    assert (receipt["pages_read"], receipt["pages_total"]) == (3, 3)
    assert receipt["exact"] == (receipt["replaced"] == 0)
    assert summary["plan"]["mode"] == "exact" and summary["plan"]["parts"] == 1
    assert "summarized at once" in told and not list(summaries_folder().glob("*"))
    assert summary["memory"]["peak_bytes"] <= summary["memory"]["budget_bytes"]


@pytest.mark.parametrize("style", ["prose", "bullets"])
def test_pages_of_sections_are_those_of_their_parts(run, write_book, style):
    summary, told = run(write_book(14), "--style", style, "--length", "short")
    receipt, sections = summary["receipt"], summary["sections"]
    assert receipt["method"] == "hierarchical" and receipt["levels"] >= 1 and not receipt["exact"]
    assert receipt["parts"] == summary["plan"]["parts"] > len(sections)
    assert receipt["tokens_read"] == receipt["tokens_total"] > WINDOW
    spans = [(section["first_page"], section["last_page"]) for section in sections]
    assert spans[0][0] == 1 and spans[-1][1] == 14
    for (_, last), (first, _) in zip(spans, spans[1:], strict=False):
        assert first in (last, last + 1)
    check_pages(sections)
    assert f"{receipt['merges']} merges on {receipt['levels']} level" in told


def check_pages(sections):
    """Every quote stands on its page, within its section's; a section in the document's words holds them."""
    for section in sections:
        assert section["first_page"] <= section["last_page"]
        pages = range(section["first_page"], section["last_page"] + 1)
        for evidence in section["evidence"]:
            assert evidence["page"] in pages and evidence["quote"] in page_text(evidence["page"])
        if section["written_by"] == "document":
            text = " ".join(map(page_text, pages))
            for sentence in re.split(r"(?<=\.) ", section["text"]):
                assert sentence in text


def test_few_parts_stand_as_they_are_and_a_level_more_comes_with_many(run, write_book):
    few, _ = run(write_book(5), "--style", "bullets", "--length", "long")
    assert few["receipt"]["method"] == "parts" and few["receipt"]["merges"] == 0
    assert len(few["sections"]) >= few["receipt"]["parts"]
    many, _ = run(write_book(16), "--length", "40")
    assert many["receipt"]["levels"] >= 2 and len(many["sections"]) == 1
    assert (many["sections"][0]["first_page"], many["sections"][0]["last_page"]) == (1, 16)


def test_evidence_of_the_document_goes_into_each_merge(tiny, write_book, first_sentences):
    document = load_document(str(write_book(14)))
    summary = summarize([document], ReadSettings(model=str(tiny)), length="short")
    merges = [pages for request, pages in first_sentences if any('\n"' in page for page in pages)]
    assert len(merges) == summary.receipt.merges > 0
    text = " ".join(page.text for page in document.pages)
    quotes = [
        quote for pages in merges for page in pages for quote in re.findall(r'^"(.+)"$', page, re.MULTILINE)
    ]
    assert quotes and all(quote in text for quote in quotes)
    assert summary.receipt.replaced == 0 and all(section.evidence for section in summary.sections)


def test_coverage_names_what_is_not_represented(tiny, write_book, first_sentences):
    document = load_document(str(write_book(14)))
    summary = summarize([document], ReadSettings(model=str(tiny)), length="40")
    coverage = summary.coverage
    assert coverage.stretches == summary.receipt.parts
    assert 0 < coverage.represented < coverage.stretches
    assert len(coverage.missing) == coverage.stretches - coverage.represented
    named = {word for word in summary.summary.casefold().split()}
    for place in coverage.missing:
        for number in range(place.first_page, place.last_page + 1):
            name = re.search(r"the (\w+) under", page_text(number))[1]
            assert name not in named
    assert 0 < coverage.share_of_tokens < 1
    assert any("not represented" in note for note in summary.receipt.notes)


def test_incremental_shows_each_part_what_came_before(tiny, write_book, first_sentences):
    document = load_document(str(write_book(9)))
    summary = summarize([document], ReadSettings(model=str(tiny)), length="20", method="incremental")
    receipt = summary.receipt
    assert receipt.method == "incremental" and receipt.merges >= 1 and receipt.levels >= 1
    onward = [pages for request, pages in first_sentences if "the new text" in request]
    # With so small a window a single sentence can be too long to stand before a part.
    assert receipt.parts - 2 <= len(onward) <= receipt.parts - 1
    assert all(pages[0].startswith("What came before, summarized: ") for pages in onward)
    assert (summary.sections[0].first_page, summary.sections[-1].last_page) == (1, 9)


def test_incremental_with_a_model_that_runs_on(run, write_book):
    summary, _ = run(write_book(9), "--method", "incremental", "--style", "bullets", "--length", "short")
    assert summary["receipt"]["method"] == "incremental"
    assert 1 <= len(summary["sections"]) <= 4
    check_pages(summary["sections"])


def test_focus_is_asked_for_and_chooses_the_sentences(tiny, write_book, monkeypatch):
    asked = []

    def write_all(self, orders, rows, chunk_tokens=None):
        for number, order in enumerate(orders):
            asked.append(order.request)
            yield number, Draft("", False, False)

    monkeypatch.setattr(Narrator, "write_all", write_all)
    document = load_document(str(write_book(3)))
    summary = summarize([document], ReadSettings(model=str(tiny)), length="10", focus="crowns of gold")
    assert summary.focus == "crowns of gold" and all(summary.focus in request for request in asked)
    [section] = summary.sections
    assert "crowns" in section.text and section.written_by == "document"
    assert not summary.receipt.exact and summary.receipt.replaced == 1
    assert any("wrote nothing of use" in note for note in summary.receipt.notes)


def test_chapters_follow_the_outline(run, tmp_path):
    text = "\n\n".join(
        f"# Chapter about {NAMES[i]}\n\n" + "\n\n".join(page_text(n) for n in range(6 * i + 1, 6 * i + 7))
        for i in range(4)
    )
    (tmp_path / "book.md").write_text(text)
    summary, _ = run("book.md", "--style", "chapters", "--length", "short")
    assert [section["title"] for section in summary["sections"]] == [
        f"Chapter about {name}" for name in NAMES[:4]
    ]
    for index, section in enumerate(summary["sections"]):
        for evidence in section["evidence"]:
            number = int(re.search(r"day (\d+)|(\d+)00 crowns|such (\w+)", evidence["quote"])[1] or 0)
            assert not number or 6 * index < number <= 6 * index + 6


def test_several_files_keep_their_own_pages(run, write_book):
    one, two = write_book(5, "one.txt"), write_book(4, "two.txt")
    summary, told = run(one, two, "--length", "40")
    ranges = [(s["source"].rsplit("/")[-1], s["first_page"], s["last_page"]) for s in summary["sections"]]
    assert ranges == [("one.txt", 1, 5), ("two.txt", 1, 4)]
    assert summary["receipt"]["pages_total"] == 9


def test_pages_left_out_are_told_and_divide_parts(run, write_book):
    summary, told = run(write_book(14), "--pages", "1-5,10-14", "--length", "800", "--style", "bullets")
    assert len(summary["receipt"]["pages_unread"]) == 4
    assert "page 6-9 (left out by --pages)" in told
    assert not any(s["first_page"] <= 5 and s["last_page"] >= 10 for s in summary["sections"])


def test_an_interrupted_run_is_resumed_to_the_same_summary(cli_env, run_lcdoc, write_book, tiny, tmp_path):
    words = ("summarize", str(write_book(12)), "--model", str(tiny), "--length", "short", "--json")
    process = subprocess.Popen(
        [sys.executable, "-m", "lcdoc", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=cli_env,
        cwd=tmp_path,
        encoding="utf-8",
    )
    for line in process.stderr:
        if line.startswith("part 3 of"):
            break
    process.send_signal(signal.SIGINT)
    out, told = process.communicate(timeout=180)
    assert (process.returncode, out) == (130, "")
    assert "the same command goes on from there" in told and "text of the document" in told
    [saved] = summaries_folder().glob("*.json")
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert len(json.loads(saved.read_text())) >= 3
    resumed = run_lcdoc(*words)
    assert resumed.returncode == 0, resumed.stderr
    assert "going on from" in resumed.stderr and str(saved) in resumed.stderr
    assert not saved.exists()
    whole = run_lcdoc(*words)
    assert "going on from" not in whole.stderr
    first, second = json.loads(resumed.stdout), json.loads(whole.stdout)
    assert first["receipt"].pop("resumed") >= 3 and second["receipt"].pop("resumed") == 0
    for one in (first, second):  # of what else the process has taken
        one["plan"].pop("predicted_peak_bytes")
    for name in ("summary", "sections", "coverage", "receipt", "finish_reason", "plan"):
        assert first[name] == second[name]


def test_restart_and_other_settings_begin_anew(tiny, write_book, first_sentences):
    document = load_document(str(write_book(14)))
    settings = ReadSettings(model=str(tiny))

    def stop(done, total, place):
        if done == 4:
            raise KeyboardInterrupt

    first = Summarizer([document], settings, Wish("short"), on_part=stop)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    assert first.parts_done == 4
    assert Summarizer([document], settings, Wish("short")).num_saved == 4
    assert Summarizer([document], settings, Wish("short", focus="ice")).num_saved == 0
    assert Summarizer([document], settings, Wish("short", method="incremental")).num_saved == 0
    assert Summarizer([document], settings, Wish("short"), restart=True).num_saved == 0
    assert not list(summaries_folder().glob("*"))


def test_a_damaged_file_of_parts_is_told_and_left(tiny, write_book, first_sentences):
    document, notes = load_document(str(write_book(14))), []
    one = Summarizer([document], ReadSettings(model=str(tiny)), Wish())
    summaries_folder().mkdir(parents=True)
    Path(one.saved_in).write_text('{"part 0": {"text": 3}}')
    again = Summarizer([document], ReadSettings(model=str(tiny)), Wish(), on_note=notes.append)
    assert again.num_saved == 0 and "beginning anew" in notes[0]
    assert again.run().receipt.resumed == 0


def test_parts_that_cannot_be_kept_are_told_of_once(tiny, write_book, first_sentences, monkeypatch):
    notes = []
    monkeypatch.setenv("LCDOC_HOME", str(write_book(14)))  # a file, where no folder can be made
    summary = summarize(
        [load_document(str(write_book(14)))], ReadSettings(model=str(tiny)), on_note=notes.append
    )
    assert summary.sections and len([note for note in notes if "can't be kept" in note]) == 1


def test_progress_goes_up_to_the_end_in_each_phase(tiny, write_book):
    seen = []
    document = load_document(str(write_book(14)))
    summary = summarize([document], ReadSettings(model=str(tiny)), length="short", observer=seen.append)
    mapped = [progress for progress in seen if progress.phase == "map"]
    done = [progress.tokens_done for progress in mapped]
    assert done == sorted(done) and {progress.tokens_total for progress in mapped} == {
        summary.receipt.tokens_total
    }
    assert done[-1] >= 0.9 * summary.receipt.tokens_total and all(
        progress.tokens_per_s >= 0 for progress in mapped
    )
    assert [progress.phase for progress in seen if progress.phase in ("map", "merge")][-1] == "merge"


@pytest.mark.parametrize(
    "options,code,words",
    [
        (("--length", "huge"), 2, "length must be short, medium, long or a number of words"),
        (("--length", "0"), 2, "length must be"),
        (("--style", "poem"), 2, "style must be one of prose, bullets, chapters"),
        (("--method", "guess"), 2, "method must be one of hierarchical, incremental"),
        (("--format", "pdf"), 2, "--format must be one of text, markdown, json"),
        (("--json", "--format", "markdown"), 2, "exclude each other"),
        (("--focus", " "), 2, "focus is empty"),
        (("--part-tokens", "5"), 2, "they may have 64 to"),
        (("--part-tokens", "9999"), 2, "they may have 64 to"),
        (("--budget", "1MB"), 4, "raise --budget"),
        (("--focus", "4711 " * 99), 4, "shorten --focus"),
    ],
)
def test_what_is_refused_is_refused_in_one_line_before_loading(
    call_lcdoc, monkeypatch, tiny, write_book, options, code, words
):
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    done = call_lcdoc("summarize", write_book(14), "--model", tiny, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr and done.stderr.count("lcdoc:") == 1


def test_text_and_markdown_carry_pages_and_no_escapes(call_lcdoc, tiny, write_book, monkeypatch):
    def write_all(self, orders, rows, chunk_tokens=None):
        written = "- The \x1b[mcopper* was\u202e [sold](http://x) for gold.\n- Winds turned warm again."
        yield 0, Draft(written, False, False)

    monkeypatch.setattr(Narrator, "write_all", write_all)
    book = write_book(3)
    done = call_lcdoc("summarize", book, "--model", tiny, "--style", "bullets")
    assert (
        done.stdout
        == "- The copper* was [sold](http://x) for gold. (pages 1-3)\n- Winds turned warm again. (pages 1-3)\n"
    )
    assert "match no sentence of their pages" in done.stderr
    marked = call_lcdoc("summarize", book, "--model", tiny, "--style", "bullets", "--format", "markdown")
    assert marked.stdout.startswith("- The copper\\* was \\[sold\\](http://x) for gold. (pages 1-3)\n")
    plain = call_lcdoc("summarize", book, "--model", tiny, "--json")
    assert "\\u001b" not in plain.stdout and "\\u202e" not in plain.stdout
    assert not {"\x1b", "\u202e"} & set(done.stdout + marked.stdout + plain.stdout + plain.stderr)


@pytest.mark.model
def test_the_default_model_summarizes_in_parts_within_its_budget(run_lcdoc, json_schema, user_folders):
    letter = Path(__file__).parents[2] / "samples" / "frankenstein-letter-1.txt"
    text = letter.read_text("utf-8")[:1_800]
    words = ("summarize", "-", "--budget", "2GB", "--part-tokens", "300", "--length", "50", "--json")
    done = run_lcdoc(*words, input=text)
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    json_schema("summary").validate(summary)
    receipt, memory = summary["receipt"], summary["memory"]
    assert receipt["method"] == "hierarchical" and receipt["parts"] >= 2 and receipt["merges"] >= 1
    assert memory["peak_bytes"] <= memory["budget_bytes"] == 2_000_000_000
    [section] = summary["sections"]
    assert section["written_by"] == "model" and len(section["text"].split()) >= 4
    assert (section["first_page"], section["last_page"]) == (1, receipt["pages_total"])
    assert all(evidence["quote"] in " ".join(text.split()) for evidence in section["evidence"])


def test_a_place_is_told_once_however_many_of_its_stretches_are_missing():
    places = [Place("a.txt", page, page, f"lines {page}", f"lines {page}") for page in (1, 1, 2, 1)]
    assert places_of(places, {"a.txt": "lines"}) == "lines 1; lines 2"
