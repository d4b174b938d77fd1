"""Reading and asking through the library, with the real default model."""

import gc
import json
from importlib import resources

import jsonschema
import pytest
import torch
from transformers import AutoModelForCausalLM, DynamicCache

import lcdoc.tasks.host as host_module
from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents import load_document
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.models import resolve
from lcdoc.tasks.ask import Reading

pytestmark = pytest.mark.model

QUESTION = "What is the special magic number for copper?"
NEEDLE = "One of the special magic numbers for copper is: 3254257."


@pytest.fixture(scope="module")
def haystack(tmp_path_factory):
    """About 1,300 tokens of a novel with a needle in it."""
    import pathlib

    text = (
        pathlib.Path(__file__)
        .parents[1]
        .joinpath("data/docs/frankenstein.txt")
        .read_text("utf-8")[20_000:26_000]
    )
    path = tmp_path_factory.mktemp("docs") / "novel.txt"
    middle = text.index(". ", 3_000) + 2
    path.write_text(text[:middle] + NEEDLE + " " + text[middle:], "utf-8")
    return load_document(str(path))


@pytest.fixture(scope="module")
def reading(haystack):
    reading = Reading([haystack], ReadSettings(mode="exact"))
    reading.read()
    return reading


def test_greedy_answer_equals_stock_transformers(reading):
    pieces = []
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=40), pieces.append)
    model, ids = (
        reading._model,
        reading._head_ids + reading.tokens.token_ids + reading._question_ids(QUESTION),
    )
    model.set_attn_implementation("sdpa")
    try:
        with torch.inference_mode():
            output = model.generate(
                torch.tensor([ids]), do_sample=False, max_new_tokens=40, past_key_values=DynamicCache()
            )[0, len(ids) :]
    finally:
        model.set_attn_implementation("lcdoc")
    stock = reading._prompt.tokenizer.decode(output, skip_special_tokens=True)
    assert answer.answer == stock.strip() == "".join(pieces).strip()
    assert "3254257" in answer.answer
    assert answer.complete and answer.finish_reason == "stop"


def test_receipt_of_an_exact_reading(reading, haystack):
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=20), lambda text: None)
    receipt = answer.receipt
    assert receipt.exact and receipt.mode == "exact"
    assert receipt.tokens_read == receipt.tokens_total == reading.tokens_total > 1_000
    assert receipt.pages_read == receipt.pages_total == haystack.num_pages
    assert receipt.pages_unread == receipt.pages_evicted == ()
    assert receipt.kv_share_kept == {"retrieval": 1.0} and receipt.num_heads == {"retrieval": 90}
    held_tokens = reading._reader.seen_tokens + len(reading._question_ids(QUESTION))
    itemsize = torch.zeros(1, dtype=reading._model.dtype).itemsize
    assert answer.memory.kv_bytes >= held_tokens * 30 * 3 * 64 * 2 * itemsize
    frequencies_bytes = 2 * 32 * 4  # of the rotary embedding, kept twice
    assert answer.memory.weights_bytes == 134_515_008 * itemsize + frequencies_bytes
    assert answer.memory.peak_bytes > answer.memory.weights_bytes


def test_questions_share_one_reading(reading, monkeypatch):
    first = reading.ask(QUESTION, Sampling(max_new_tokens=20), lambda text: None)
    read = []
    prefill = reading._reader.prefill
    monkeypatch.setattr(
        reading._reader, "prefill", lambda ids, **options: (read.append(len(ids)), prefill(ids, **options))
    )
    other = reading.ask("Who tells this?", Sampling(max_new_tokens=5), lambda text: None)
    again = reading.ask(QUESTION, Sampling(max_new_tokens=20), lambda text: None)
    assert max(read) < 60, "a later question reads itself, not the document"
    assert again.answer == first.answer
    assert other.finish_reason == "length" and not other.complete


def test_a_chat_keeps_its_turns_until_they_are_forgotten(reading):
    plain = reading._reader.seen_tokens
    reading.ask(QUESTION, Sampling(max_new_tokens=20), lambda text: None, keep_turn=True)
    assert reading._reader.seen_tokens > plain
    answer = reading.ask(
        "Repeat that number.", Sampling(max_new_tokens=20), lambda text: None, keep_turn=True
    )
    assert "3254257" in answer.answer
    reading.forget_turns()
    assert reading._reader.seen_tokens == plain


def test_an_interrupt_keeps_the_partial_answer_and_the_reading(reading):
    pieces = []

    def interrupt(text):
        pieces.append(text)
        if len(pieces) == 4:
            raise KeyboardInterrupt

    before = reading._reader.seen_tokens
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=40), interrupt, keep_turn=True)
    assert answer.finish_reason == "interrupted" and not answer.complete
    assert answer.answer == "".join(pieces).strip() != ""
    assert reading._reader.seen_tokens == before
    assert "3254257" in reading.ask(QUESTION, Sampling(max_new_tokens=40), lambda text: None).answer


def test_sampling_is_repeatable_and_seeded(reading):
    def sample(seed):
        sampling = Sampling(max_new_tokens=12, temperature=1.5, top_p=0.95, seed=seed)
        return reading.ask("Tell a story about the ice.", sampling, lambda text: None).answer

    assert sample(1) == sample(1) != sample(2)


def test_streaming_heads_drop_what_the_receipt_says(haystack):
    reading = Reading(
        [haystack], ReadSettings(mode="stream", sink_size=64, recent_size=100), questions=[QUESTION]
    )
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=20), lambda text: None)
    receipt = answer.receipt
    assert not receipt.exact and receipt.num_heads == {"streaming": 90}
    assert receipt.kv_share_kept["streaming"] < 0.12
    assert receipt.pages_evicted[1].share_evicted == 1.0
    assert receipt.pages_evicted[0].share_evicted < 1.0  # the sinks are there
    itemsize = torch.zeros(1, dtype=reading._model.dtype).itemsize
    assert answer.memory.kv_bytes == 90 * 164 * 64 * 2 * itemsize


def test_a_document_longer_than_the_window_is_refused_before_weights_load(monkeypatch):
    import pathlib

    path = pathlib.Path(__file__).parents[1] / "data/docs/frankenstein.txt"
    document = load_document(str(path))
    monkeypatch.setattr(host_module, "load_model", lambda *args, **kwargs: pytest.fail("weights were loaded"))
    with pytest.raises(DoesNotFitError, match=r"10\d,\d{3} tokens .* window is 8,192 tokens; .*--pages"):
        Reading([document], ReadSettings(), questions=[QUESTION])


@pytest.mark.parametrize(
    "settings,message",
    [
        (ReadSettings(mode="duo", profile="none"), "needs a head profile"),
        (ReadSettings(mode="exact", profile="x.yaml"), "used by --mode duo"),
        (ReadSettings(mode="exact", sink_size=4), "belong to --mode stream or duo"),
    ],
    ids=["duo without profile", "exact with profile", "exact with sinks"],
)
def test_settings_that_do_not_go_together_are_refused(haystack, settings, message):
    with pytest.raises(UsageError, match=message):
        Reading([haystack], settings, questions=[QUESTION])


def test_answer_validates_against_the_schema(reading):
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=20), lambda text: None)
    schema = json.loads(resources.files("lcdoc.cli").joinpath("answer.schema.json").read_text("utf-8"))
    jsonschema.validate(json.loads(json.dumps(answer.to_json())), schema)


def test_loading_in_bfloat16_is_possible_and_said(haystack):
    gc.collect()
    short = ReadSettings(mode="exact", dtype="bfloat16")
    reading = Reading([haystack], short, questions=[QUESTION])
    assert reading.plan.kv_dtype == "bfloat16"
    assert isinstance(reading._model, type(AutoModelForCausalLM.from_config(reading._model.config)))
    assert resolve(None).name == reading._info.name
