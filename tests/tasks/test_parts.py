"""Documents far longer than the model's window: read in parts, and answered from what bears on the question."""

import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents import load_document
from lcdoc.documents.document import Document, Page
from lcdoc.engine.memory import AllocationFailed
from lcdoc.engine.model_shape import ModelShape
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.fusion import part_reader
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.host import Host
from lcdoc.tasks.opening import open_reading
from lcdoc.tasks.parts_plan import is_read_in_parts, plan_parts
from lcdoc.tasks.parts_reading import PartsReading
from lcdoc.tasks.plan import make_plan
from lcdoc.tasks.room import Need

WINDOW = 512
SENTENCE = "The ice lay all around the ship, and the men waited for the wind.\n"
FACT = "Zanzibar copper weighs 4711 pounds.\n"
QUESTION = "Zanzibar copper weighs?"
OPTIONS = ("--max-new-tokens", "16", "--chunk-tokens", "100")


@pytest.fixture(scope="module")
def tiny(write_tiny_model):
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=WINDOW, spread=0.2)


@pytest.fixture(scope="module")
def make_text(tiny):
    """Text of about so many windows of the model, with the fact at a depth."""
    each = len(AutoTokenizer.from_pretrained(tiny)(SENTENCE).input_ids)

    def make(windows, depth=0.7):
        count = int(windows * WINDOW / each)
        before = int(count * depth)
        return SENTENCE * before + FACT + SENTENCE * (count - before)

    return make


@pytest.fixture(scope="module")
def book(make_text):
    """Five windows on 20 pages."""
    text = make_text(5)
    size = len(text) // 20 + 1
    pages = (Page(number, f"p{number}", text[(number - 1) * size : number * size]) for number in range(1, 21))
    return Document("book.pdf", "pdf", "page", tuple(pages), 20)


@pytest.fixture
def ask(call_lcdoc, json_schema, tiny, make_text, tmp_path):
    def run(*options, windows=10):
        path = tmp_path / "ship.txt"
        path.write_text(make_text(windows))
        done = call_lcdoc("ask", path, QUESTION, "--model", tiny, "--json", *OPTIONS, *options)
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        json_schema("answer").validate(answer)
        return answer, done.stderr

    return run


def test_a_document_of_ten_windows_is_answered_from_all_of_it(ask):
    answer, told = ask()
    plan, receipt = answer["plan"], answer["receipt"]
    assert (plan["mode"], plan["rung"], receipt["mode"]) == ("parts", "in parts", "parts")
    assert receipt["parts"] == plan["parts"] >= 20  # half a window each, with all that stands around it
    assert receipt["tokens_read"] == receipt["tokens_total"] > 9.5 * WINDOW
    assert receipt["pages_read"] == receipt["pages_total"] > 1 and not receipt["pages_unread"]
    assert not receipt["exact"] and receipt["positions"] == "native" and plan["capacity_tokens"] <= WINDOW
    [note] = [note for note in receipt["notes"] if note.startswith(f"read in {plan['parts']} parts; the ")]
    assert "passages that bear on the question were read again together: lines " in note
    assert note in told and f"({plan['loss']})" in told and "reading again" in told
    assert answer["timing"]["ttft_s"] >= answer["timing"]["prefill_s"]


def test_pages_read_again_are_named_and_hold_the_answer(tiny, book):
    reading = open_reading([book], ReadSettings(model=str(tiny)), questions=[QUESTION], max_new_tokens=16)
    assert isinstance(reading, PartsReading)
    receipt = reading.ask(QUESTION, Sampling(max_new_tokens=16), lambda text: None).receipt
    [page] = [page for page in book.pages if FACT[:20] in page.text]
    reread = {one.page: one for one in receipt.pages_reread}
    assert reread[page.number].label == page.label and 0 < reread[page.number].share_reread <= 1
    assert list(reread) == sorted(reread) and len(reread) < 8
    assert f"pages {', '.join(one.label for one in receipt.pages_reread)}" in receipt.notes[0]
    assert f"the other {20 - len(reread)} pages were read in their parts alone" in receipt.notes[0]


def test_the_answer_is_that_of_one_exact_reading_of_what_was_chosen(tiny, book, monkeypatch):
    read = []

    class Listening(Reading):
        def __init__(self, documents, *args, **kwargs):
            read.append(documents)
            super().__init__(documents, *args, **kwargs)

    monkeypatch.setattr("lcdoc.tasks.parts_reading.Reading", Listening)
    settings, sampling = ReadSettings(model=str(tiny)), Sampling(max_new_tokens=16)
    reading = open_reading([book], settings, questions=[QUESTION], max_new_tokens=16)
    answer = reading.ask(QUESTION, sampling, lambda text: None)
    [documents] = read
    text = "".join(page.text for page in documents[0].pages)
    assert FACT.strip() in text and "..." in text
    alone = Reading(documents, settings, questions=[QUESTION], max_new_tokens=16)
    assert alone.plan.mode == "exact" and alone.tokens_total <= reading._plan.excerpt_tokens
    assert alone.ask(QUESTION, sampling, lambda text: None).answer == answer.answer


def test_several_questions_share_one_reading_of_the_parts(tiny, book, monkeypatch):
    parts = []
    read = part_reader.PartReader.read

    def listening(self, part_ids, *args):
        parts.append(len(part_ids))
        return read(self, part_ids, *args)

    monkeypatch.setattr(part_reader.PartReader, "read", listening)
    questions, sampling = [QUESTION, "Who waited?"], Sampling(max_new_tokens=16)
    settings = ReadSettings(model=str(tiny))
    reading = open_reading([book], settings, questions=questions, max_new_tokens=16)
    first, second = (reading.ask(question, sampling, lambda text: None) for question in questions)
    assert len(parts) == first.receipt.parts == second.receipt.parts and sum(parts) == reading.tokens_total
    assert first.receipt.pages_reread != second.receipt.pages_reread
    assert first.timing.ttft_s > reading._sweep.seconds  # it pays for the sweep
    alone = open_reading([book], settings, questions=questions[:1], max_new_tokens=16)
    assert alone.ask(QUESTION, sampling, lambda text: None).receipt == first.receipt
    del parts[:]
    unknown = reading.ask("The wind?", sampling, lambda text: None)
    assert sum(parts) == reading.tokens_total and unknown.receipt.tokens_read == reading.tokens_total
    with pytest.raises(UsageError, match="ask more briefly"):
        reading.ask("Why? " * 100, sampling, lambda text: None)


def test_several_questions_and_files_through_the_entry_point(
    call_lcdoc, json_schema, tiny, make_text, tmp_path
):
    (tmp_path / "one.txt").write_text(make_text(4))
    (tmp_path / "two.txt").write_text(SENTENCE * 10 + "Lisbon amber costs seven.\n" + SENTENCE * 10)
    words = ("ask", tmp_path / "one.txt", tmp_path / "two.txt", "-q", QUESTION, "-q", "Lisbon amber costs?")
    done = call_lcdoc(*words, "--model", tiny, "--json", *OPTIONS)
    assert done.returncode == 0, done.stderr
    several = json.loads(done.stdout)
    json_schema("answer").validate(several)
    first, second = (answer["receipt"] for answer in several["answers"])
    sources = [{page["source"].rsplit("/", 1)[-1] for page in one["pages_reread"]} for one in (first, second)]
    assert "one.txt" in sources[0] and "two.txt" in sources[1]
    assert "one.txt lines " in first["notes"][0] and "two.txt lines " in second["notes"][0]
    events = call_lcdoc(*words, "--model", tiny, "--jsonl", *OPTIONS)
    lines = [json.loads(line) for line in events.stdout.splitlines()]
    for line in lines:
        json_schema("events").validate(line)
    prefills = [line["tokens_done"] for line in lines if line["event"] == "prefill"]
    assert prefills == sorted(prefills) and prefills[-1] == first["tokens_total"]
    assert [line["event"] for line in lines if line["event"] != "prefill"][0] == "plan"
    assert lines[-1]["answer"]["receipt"]["parts"] == first["parts"]


@pytest.mark.parametrize(
    "windows,options,mode,extend",
    [
        (0.6, (), "exact", None),
        (0.6, ("--fusion", "parts"), "exact", None),
        (1.1, (), "exact", "ntk"),
        (2, (), "parts", None),
        (2, ("--extend", "auto"), "exact", "self-extend"),
        (1.1, ("--fusion", "parts"), "parts", None),
        (2, ("--extend", "none"), "parts", None),
        (5, ("--extend", "self-extend"), "exact", "self-extend"),
        (5, ("--mode", "stream", "--sink-size", "4", "--recent-size", "100"), "stream", "lm-infinite"),
        (5, ("--keep", "100", "--evict", "snapkv"), "evict", None),
        (5, ("--kv-dtype", "int8"), "parts", None),
    ],
)
def test_parts_are_for_what_is_not_read_at_once(ask, windows, options, mode, extend):
    answer, _ = ask(*options, windows=windows)
    assert (answer["plan"]["mode"], answer["plan"]["extend"]) == (mode, extend)
    assert (answer["receipt"]["parts"] > 1) == (mode == "parts") == bool(answer["receipt"]["pages_reread"])


@pytest.mark.parametrize(
    "options,code,words",
    [
        (("--fusion", "off"), 4, "--fusion auto reads it in parts, --extend self-extend reads"),
        (("--mode", "exact"), 4, "the model's window is 512 tokens"),
        (("--fusion", "parts", "--mode", "exact"), 2, "--fusion parts reads every part in full"),
        (("--fusion", "parts", "--mode", "stream"), 2, "it can't go with --mode stream"),
        (("--fusion", "parts", "--keep", "25%"), 2, "it can't go with --evict or --keep"),
        (("--fusion", "parts", "--extend", "ntk"), 2, "it can't go with --extend ntk"),
        (("--fusion", "both"), 2, "fusion must be one of auto, parts, kv, off"),
        (("-q", "Why? " * 60), 4, "too many to read a document in parts with a window of 512"),
    ],
)
def test_what_is_refused_is_refused_in_one_line_before_loading(
    call_lcdoc, monkeypatch, tiny, make_text, tmp_path, options, code, words
):
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    (tmp_path / "ship.txt").write_text(make_text(5))
    done = call_lcdoc("ask", "ship.txt", "What?", "--model", tiny, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr and done.stderr.count("lcdoc:") == 1


def test_a_chat_reads_for_each_question(write_tiny_model, book):
    model = write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=1024, spread=0.2)
    settings = ReadSettings(model=str(model), fusion="parts")
    reading = open_reading([book], settings, max_new_tokens=16)
    assert isinstance(reading, PartsReading)
    reading.read()
    assert reading.tokens_read == 0  # nothing is asked yet, and nothing stored
    sampling = Sampling(max_new_tokens=16)
    answer = reading.ask(QUESTION, sampling, lambda text: None)
    asked = open_reading([book], settings, questions=[QUESTION], max_new_tokens=16)
    expected = asked.ask(QUESTION, sampling, lambda text: None)
    assert reading.tokens_read == answer.receipt.tokens_read == reading.tokens_total
    [page] = [page for page in book.pages if FACT[:20] in page.text]
    assert page.number in {one.page for one in answer.receipt.pages_reread}
    assert answer.receipt.parts >= expected.receipt.parts  # room is kept for longer questions


def test_refused_memory_makes_the_chunks_smaller_and_changes_nothing(tiny, book, monkeypatch):
    settings, sampling = ReadSettings(model=str(tiny), chunk_tokens=256), Sampling(max_new_tokens=16)
    wanted = open_reading([book], settings, questions=[QUESTION], max_new_tokens=16)
    wanted = wanted.ask(QUESTION, sampling, lambda text: None)
    prefill, refused, notes = part_reader.Reader.prefill, [], []

    def refusing(self, token_ids, on_chunk=None, trace=None):
        if len(token_ids) > 128 and len(refused) < 1:
            refused.append(self)
            prefill(self, token_ids[:50])
            raise AllocationFailed("no memory")
        prefill(self, token_ids, on_chunk, trace)

    monkeypatch.setattr(part_reader.Reader, "prefill", refusing)
    reading = open_reading([book], settings, questions=[QUESTION], max_new_tokens=16, on_note=notes.append)
    answer = reading.ask(QUESTION, sampling, lambda text: None)
    assert len(refused) == 1 and notes == ["an allocation failed: going on with chunks of 128"]
    assert answer.receipt.pages_reread == wanted.receipt.pages_reread
    assert notes[0] in answer.receipt.notes
    reading = open_reading([book], replace(settings, chunk_tokens=100), questions=[QUESTION])
    monkeypatch.setattr(
        part_reader.Reader, "prefill", lambda *args: (_ for _ in ()).throw(AllocationFailed("no"))
    )
    with pytest.raises(DoesNotFitError, match="no way is left that takes less"):
        reading.read()


def test_an_interrupt_leaves_what_was_read(tiny, book):
    def interrupt(progress):
        if progress.phase == "read" and progress.tokens_done > 1000:
            raise KeyboardInterrupt

    settings = ReadSettings(model=str(tiny), chunk_tokens=100)
    reading = open_reading([book], settings, questions=[QUESTION], observer=interrupt)
    with pytest.raises(KeyboardInterrupt):
        reading.read()
    assert 1000 < reading.tokens_read < 1200


def test_a_model_whose_layers_all_have_windows_goes_by_words_alone(tiny, book, tmp_path):
    config = AutoConfig.for_model(
        "mistral",
        vocab_size=AutoConfig.from_pretrained(tiny).vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        sliding_window=64,
        bos_token_id=None,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path)
    reading = open_reading([book], ReadSettings(model=str(tmp_path)), questions=[QUESTION], max_new_tokens=8)
    receipt = reading.ask(QUESTION, Sampling(max_new_tokens=8), lambda text: None).receipt
    [page] = [page for page in book.pages if FACT[:20] in page.text]
    assert page.number in {one.page for one in receipt.pages_reread} and receipt.parts > 10


# The plan, for a model of a window of 8,192 tokens.


def asked(document_tokens, budget_bytes=1 << 40, **changes):
    """What a plan is made of."""
    config = AutoConfig.for_model(
        "llama",
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=50,
        max_position_embeddings=8192,
    )
    shape = ModelShape.from_config(config, 0, torch.float32)

    def make(settings, need):
        settings = replace(settings, profile=None)
        return make_plan(config, settings, need, shape, base_bytes=0, budget_bytes=budget_bytes)

    return make, config, ReadSettings(**changes), Need(document_tokens, 100, 512, False), shape


def planned(document_tokens, budget_bytes=1 << 40):
    return plan_parts(*asked(document_tokens, budget_bytes), None)


def test_parts_take_half_the_window_and_fit_the_budget():
    plan = planned(100_000)
    assert (plan.tokens, plan.num_parts, plan.excerpt_tokens) == (3996, 26, 1500)
    assert plan.summary.capacity_tokens == 4097 and plan.summary.parts == 26
    assert "read in 26 parts; each answer sees no more than 1,500 tokens of them" in plan.summary.loss
    assert plan.likelihood_bytes == 64 * 50 * (4 + 4 + 4 + 4)
    tight = planned(100_000, budget_bytes=plan.peak_bytes // 3)
    assert tight.tokens in (3996, 1998, 999) and tight.peak_bytes <= plan.peak_bytes // 3
    assert tight.part.rung.kv_dtype == "model" and tight.part.rung.eviction is None
    with pytest.raises(DoesNotFitError, match="raise --budget"):
        planned(100_000, budget_bytes=1000)


def test_what_is_much_longer_than_the_window_is_read_in_parts():
    assert is_read_in_parts(*asked(13_000)) and not is_read_in_parts(*asked(11_000))
    for changes in ({"extend": "auto"}, {"extend": "self-extend"}, {"mode": "stream"}, {"fusion": "off"}):
        assert not is_read_in_parts(*asked(20_000, **changes))
    assert is_read_in_parts(*asked(40_000, extend="auto"))
    assert is_read_in_parts(*asked(9_000, fusion="parts")) and not is_read_in_parts(
        *asked(7_000, fusion="parts")
    )


def test_a_chat_is_read_at_once_as_far_as_positions_go():
    make, config, settings, need, shape = asked(20_000)
    assert not is_read_in_parts(make, config, settings, replace(need, keep_turns=True), shape)


def test_what_takes_too_much_memory_beyond_the_window_is_read_in_parts():
    assert is_read_in_parts(*asked(11_000, 2_500_000)) and not is_read_in_parts(*asked(8_000, 2_500_000))
    assert planned(11_000, 2_500_000).num_parts == 23


def test_the_plan_shows_the_parts_and_their_cost(
    call_lcdoc, json_schema, write_tiny_model, make_text, tmp_path
):
    window = 2048
    wider = write_tiny_model(digits="alone", vocab_size=600, num_layers=1, window=window, spread=0.2)
    (tmp_path / "ship.txt").write_text(make_text(40))
    elsewhere = ("--model", wider, "--device", "cuda", "--budget", "1GB", "--max-new-tokens", "16")
    done = call_lcdoc("plan", "ship.txt", *elsewhere, "--json")
    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    json_schema("plan").validate(plan)
    assert plan["parts"]["number"] >= 20 and plan["parts"]["tokens"] < window // 2
    assert plan["chosen"] == "in parts" == plan["ways"][0]["name"] and plan["refusal"] is None
    assert plan["ways"][0]["fits"] and plan["ways"][0]["loss"].startswith("read in ")
    assert plan["exact"]["window_tokens"] > 9 * window
    text = call_lcdoc("plan", "ship.txt", *elsewhere).stdout
    assert f"read in {plan['parts']['number']} parts of up to {plan['parts']['tokens']} tokens" in text
    refused = call_lcdoc("plan", "ship.txt", *elsewhere, "--fusion", "off")
    assert refused.returncode == 4 and "--fusion auto reads it in parts" in refused.stderr
    tokens = json.loads(call_lcdoc("plan", "--tokens", "20000", *elsewhere, "--json").stdout)
    assert tokens["parts"]["number"] >= 20_000 // (window // 2)


def test_the_plan_of_a_text_within_the_window_has_no_parts(call_lcdoc, tiny):
    words = ("plan", "--model", tiny, "--tokens", "200", "--device", "cuda", "--budget", "1GB", "--json")
    assert json.loads(call_lcdoc(*words).stdout)["parts"] is None


def test_files_are_read_in_parts_by_selftest_too(call_lcdoc, json_schema, tiny, make_text, tmp_path):
    (tmp_path / "ship.txt").write_text(make_text(5))
    words = ("selftest", "ship.txt", "--depths", "1", "--model", tiny, "--json", *OPTIONS)
    done = call_lcdoc(*words)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    json_schema("selftest").validate(report)
    assert report["receipt"]["parts"] > 5 and load_document(str(tmp_path / "ship.txt")).num_pages > 0


def test_within_the_window_parts_are_the_last_resort():
    short_of_memory = 7_000, 2_000_000
    assert is_read_in_parts(*asked(*short_of_memory)) and not is_read_in_parts(*asked(7_000, 3_000_000))
    for changes in ({"fusion": "off"}, {"mode": "stream"}, {"evict": "recent"}, {"kv_dtype": "int4"}):
        assert not is_read_in_parts(*asked(*short_of_memory, **changes))
    with pytest.raises(DoesNotFitError, match="raise --budget"):
        open_plan(*asked(7_000, 1_000_000))


def open_plan(make, config, settings, need, shape):
    """As a reading is opened."""
    if is_read_in_parts(make, config, settings, need, shape):
        return plan_parts(make, config, settings, need, shape, None)
    return make(settings, need)


def test_the_plan_has_parts_below_all_ways_to_read_at_once(call_lcdoc, json_schema, tmp_path):
    config = AutoConfig.for_model("llama", max_position_embeddings=131_072, num_key_value_heads=8)
    config.save_pretrained(tmp_path)
    words = ("plan", "--model-config", tmp_path / "config.json", "--tokens", "100k", "--device", "cuda")
    plan = json.loads(call_lcdoc(*words, "--json", "--budget", "24GB").stdout)
    json_schema("plan").validate(plan)
    *_, evicted, in_parts, offloaded = plan["ways"]
    assert [evicted["name"], offloaded["name"]] == ["5% kept", "weights offloaded"]
    assert plan["chosen"] == "int8 KV" and plan["parts"] is None
    assert in_parts["name"].startswith("in parts") and in_parts["fits"]
    least = evicted["predicted_peak_bytes"]
    assert in_parts["predicted_peak_bytes"] < least and "each answer sees no more" in in_parts["loss"]
    short = json.loads(call_lcdoc(*words, "--json", "--budget", f"{(least - 1) / 1e9:.9f}GB").stdout)
    assert short["chosen"].startswith("in parts") and short["parts"]["number"] > 2 and not short["refusal"]


def test_what_does_not_fit_the_budget_at_once_is_answered_from_parts(
    monkeypatch, write_tiny_model, make_text, tmp_path
):
    wide = write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=8192, spread=0.2)
    (tmp_path / "ship.txt").write_text(make_text(13))
    settings = ReadSettings(model=str(wide), dtype="float32")
    host = Host(settings)
    monkeypatch.setattr(host, "base_bytes", 0)
    monkeypatch.setattr(host, "budget_bytes", 1_250_000)
    documents = [load_document(str(tmp_path / "ship.txt"))]
    reading = open_reading(documents, settings, max_new_tokens=16, questions=[QUESTION], host=host)
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=16), lambda text: None)
    assert isinstance(reading, PartsReading) and reading.tokens_total < 8000 - 600
    assert answer.receipt.tokens_read == answer.receipt.tokens_total == reading.tokens_total
