"""Documents read in parts whose best passages contradict each other: they are read again in a second round."""

import json
import re

import pytest
from transformers import AutoTokenizer

from lcdoc.citations.disagreement import Finding, disagree
from lcdoc.documents.document import Document, Page
from lcdoc.fusion.likelihood import LikelihoodReader
from lcdoc.fusion.spans import cut_spans
from lcdoc.tasks import parts_reading
from lcdoc.tasks.apart import Extract, find_conflict
from lcdoc.tokens import tokenize

WINDOW = 1024
SENTENCE = "The ice lay all around the ship, and the men waited for the wind.\n"
FACT, OTHER = "Zanzibar copper weighs 4711 pounds.\n", "Zanzibar copper weighs 5822 pounds.\n"
QUESTION = "Zanzibar copper weighs?"
OPTIONS = ("--max-new-tokens", "16", "--chunk-tokens", "200")


@pytest.fixture(scope="module")
def tiny(write_tiny_model):
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=WINDOW, spread=0.2)


@pytest.fixture
def said(monkeypatch):
    """What the model, which is a random one, says of each passage alone: its first number. Words alone judge."""
    answers = {}

    def ask_apart(question, spans, open_reading):
        read = [
            open_reading(span).ask(question, parts_reading.Sampling(1), lambda text: None) for span in spans
        ]
        assert [answer.receipt.mode for answer in read] == ["exact"] * len(spans)
        numbers = [re.findall(r"\d{4}", span.text)[0] for span in spans]
        asked.extend(numbers)
        return [
            Extract(span, answers.get(number, f"It weighs {number} pounds."), 0.9)
            for span, number in zip(spans, numbers, strict=True)
        ]

    asked = answers["asked"] = []
    monkeypatch.setattr(parts_reading, "choose_heads", lambda *given: frozenset())
    monkeypatch.setattr(LikelihoodReader, "scores", lambda self, spans, *given: [1.0] * len(spans))
    monkeypatch.setattr(parts_reading, "ask_apart", ask_apart)
    return answers


@pytest.fixture
def ask(call_lcdoc, json_schema, tiny, tmp_path):
    def run(*facts, fusion="parts"):
        pieces = [SENTENCE * 40 + fact + SENTENCE * 40 for fact in facts]
        (tmp_path / "ship.txt").write_text("".join(pieces))
        done = call_lcdoc(
            "ask", "ship.txt", QUESTION, "--model", tiny, "--json", "--fusion", fusion, *OPTIONS
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        json_schema("answer").validate(answer)
        return answer["receipt"], done.stderr

    return run


def test_passages_that_contradict_each_other_are_read_again_with_what_stands_around_them(ask, said):
    receipt, told = ask(FACT, OTHER)
    assert {one["answer"] for one in receipt["conflict"]} == {
        "It weighs 4711 pounds.",
        "It weighs 5822 pounds.",
    }
    pages = {page["page"] for page in receipt["pages_reread"]}
    assert {one["page"] for one in receipt["conflict"]} <= pages
    [note] = [note for note in receipt["notes"] if "second round" in note]
    assert "2 passages contradict each other" in note and '"It weighs 5822 pounds."' in note and note in told


def test_what_is_kept_of_them_comes_first_where_nothing_is_read_again(ask, said):
    receipt, told = ask(FACT, OTHER, fusion="kv")
    assert {one["page"] for one in receipt["conflict"]} <= {page["page"] for page in receipt["pages_reread"]}
    [note] = [note for note in receipt["notes"] if "contradict each other" in note]
    assert note.endswith("; they come before all others that were attended to") and note in told


def test_passages_that_agree_are_asked_alone_and_read_once(ask, said):
    receipt, told = ask(FACT, FACT)
    assert said["asked"] == ["4711", "4711"]
    assert not receipt["conflict"] and "second round" not in told


def test_a_question_with_one_passage_costs_nothing(ask, said):
    receipt, _ = ask(FACT, SENTENCE)
    assert said["asked"] == [] and not receipt["conflict"] and receipt["pages_reread"]


@pytest.mark.parametrize(
    "question,one,other,against",
    [
        ("Weighs?", ("4,711 pounds.", "weighs 4711 pounds"), ("5822.", "weighs 5822 pounds"), True),
        ("Weighs?", ("4711", "weighs 4711 pounds"), ("4711", "weighs 4711 pounds"), False),
        (
            "Weighs?",
            ("4711", "it is 4711, not 5822"),
            ("5822", "it is 5822"),
            False,
        ),  # the first one knows both
        ("Weighs?", ("4711", "weighs 4711"), ("9", "has no number"), False),  # made up
        ("What of 1851?", ("1851", "in 1851"), ("1852", "in 1852"), False),  # the question's own
        ("Where?", ("Nairobi.", "held in Nairobi"), ("In Bergen", "held in Bergen"), True),
        ("Where?", ("Nairobi.", "held in Nairobi"), ("It is 7", "held in 7 towns"), False),  # of another kind
        ("Where?", ("Here.", "it is here"), ("There.", "it is there"), False),
    ],
)
def test_figures_and_names_that_only_one_source_has_contradict(question, one, other, against):
    assert disagree(question, Finding(*one), Finding(*other)) == against
    assert disagree(question, Finding(*other), Finding(*one)) == against


@pytest.mark.parametrize(
    "probabilities,found",
    [((0.9, 0.8), 2), ((0.7, 0.9), 2), ((0.9, 0.6), 0), ((0.6, 0.9), 0), ((0.6, 0.6), 0), ((0.99, 0.7), 0)],
)
def test_an_answer_that_is_less_likely_is_no_evidence(spans, probabilities, found):
    answers = ("It weighs 4711 pounds.", "It weighs 5822 pounds.")
    extracts = [Extract(*one) for one in zip(spans, answers, probabilities, strict=True)]
    assert len(find_conflict(QUESTION, extracts)) == found


@pytest.fixture(scope="module")
def spans(tiny):
    pages = (Page(number, str(number), text) for number, text in enumerate((FACT, OTHER), start=1))
    document = Document("copper.pdf", "pdf", "page", tuple(pages), 2)
    return cut_spans(tokenize(AutoTokenizer.from_pretrained(tiny), [document]), 250)
