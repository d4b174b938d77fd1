"""Which passages of a document read in parts are read again: the best are judged by the question's likelihood, too."""

from dataclasses import replace

import pytest

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document, Page
from lcdoc.engine.memory import AllocationFailed
from lcdoc.fusion import likelihood
from lcdoc.fusion.likelihood import LEAST_CANDIDATES, LikelihoodReader
from lcdoc.tasks.opening import open_reading
from lcdoc.tasks.parts_reading import PartsReading

WINDOW = 512
SENTENCE = "The ice lay all around the ship, and the men waited for the wind.\n"
QUESTION = "Why did the men wait?"
SAMPLING = Sampling(max_new_tokens=8)


@pytest.fixture(scope="module")
def tiny(write_tiny_model):
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=WINDOW, spread=0.2)


@pytest.fixture(scope="module")
def book():
    """More pages than are judged so."""
    pages = (Page(number, f"p{number}", SENTENCE * 5) for number in range(1, LEAST_CANDIDATES + 7))
    return Document("book.pdf", "pdf", "page", tuple(pages), LEAST_CANDIDATES + 6)


def open_book(tiny, book, **changes):
    settings = ReadSettings(model=str(tiny), **changes.pop("settings", {}))
    reading = open_reading([book], settings, questions=[QUESTION], max_new_tokens=8, **changes)
    assert isinstance(reading, PartsReading)
    return reading


def test_a_span_that_leads_to_the_question_is_read_again_first(tiny, book, monkeypatch):
    asked = []

    def scores(self, spans, question_ids, chunk_tokens, on_span, left):
        assert left is None
        asked.append(list(spans))
        return [1.0 if idx == len(spans) - 1 else -1.0 for idx in range(len(spans))]

    monkeypatch.setattr(LikelihoodReader, "scores", scores)
    reading = open_book(tiny, book)
    judgement = reading.judge(QUESTION)
    [candidates] = asked
    assert len(candidates) == LEAST_CANDIDATES < len(reading._sweep.spans)
    [favourite] = [idx for idx, score in enumerate(judgement.likelihood) if score > 0]
    span = reading._sweep.spans[favourite]
    assert reading.tokens.token_ids[span.start : span.stop] == candidates[-1]
    pages = [page.page for page in reading.ask(QUESTION, SAMPLING, lambda text: None).receipt.pages_reread]
    assert span.page.page.number in pages and len(asked) == 1  # once for each question


def test_judging_is_told_while_it_happens_and_timed(tiny, book):
    heard = []
    reading = open_book(tiny, book, observer=heard.append)
    timing = reading.ask(QUESTION, SAMPLING, lambda text: None).timing
    judged = [progress for progress in heard if progress.phase == "judge"]
    assert len(judged) == LEAST_CANDIDATES
    assert judged[-1].tokens_done == judged[-1].tokens_total and judged[-1].kv_bytes > 0
    phases = [progress.phase for progress in heard]
    assert phases.index("read") < phases.index("judge") < phases.index("reread")
    assert timing.ttft_s >= reading._sweep.seconds > 0


def test_refused_memory_makes_the_chunks_smaller(tiny, book, monkeypatch):
    prefill, refused, notes = likelihood.Reader.prefill, [], []

    def refusing(self, token_ids, *args, **kwargs):
        prefill(self, token_ids, *args, **kwargs)
        if self.cache.layers[0].capacity_tokens < 200 and not refused:  # a span's, not a part's
            refused.append(self)
            raise AllocationFailed("no memory")

    wanted = open_book(tiny, book, settings={"chunk_tokens": 256})
    expected = wanted.ask(QUESTION, SAMPLING, lambda text: None).receipt
    monkeypatch.setattr(likelihood.Reader, "prefill", refusing)
    reading = open_book(tiny, book, settings={"chunk_tokens": 256}, on_note=notes.append)
    receipt = reading.ask(QUESTION, SAMPLING, lambda text: None).receipt
    assert len(refused) == 1 and notes[0] == "an allocation failed: going on with chunks of 128"
    assert receipt.pages_reread == expected.pages_reread and notes[0] in receipt.notes


def test_without_memory_for_it_the_others_judge_alone(tiny, book, monkeypatch):
    reading = open_book(tiny, book)
    plan = replace(reading._plan, likelihood_bytes=0)
    assert "judged without its likelihood" in plan.loss and plan.peak_bytes <= reading._plan.peak_bytes
    monkeypatch.setattr("lcdoc.tasks.parts_reading.plan_parts", lambda *args: plan)
    monkeypatch.setattr(LikelihoodReader, "scores", lambda *args: pytest.fail("judged"))
    alone = open_book(tiny, book)
    assert alone.ask(QUESTION, SAMPLING, lambda text: None).receipt.pages_reread
