"""Documents read in parts whose best passages are attended to together as they were read there: --fusion kv."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents.document import Document, Page
from lcdoc.engine import reader as engine_reader
from lcdoc.engine.memory import AllocationFailed
from lcdoc.engine.model_shape import ModelShape
from lcdoc.errors import DoesNotFitError
from lcdoc.evaluate.templates import draw_needle
from lcdoc.fusion.excerpt import excerpt_tokens
from lcdoc.fusion.joint_tokens import JointTokens
from lcdoc.tasks.opening import open_reading
from lcdoc.tasks.parts_plan import is_read_in_parts, parts_below, plan_parts
from lcdoc.tasks.plan import make_plan
from lcdoc.tasks.room import Need

WINDOW = 512
SENTENCE = "The ice lay all around the ship, and the men waited for the wind.\n"
FACT = "Zanzibar copper weighs 4711 pounds.\n"
QUESTION = "Zanzibar copper weighs?"
SAMPLING = Sampling(max_new_tokens=16)
OPTIONS = ("--max-new-tokens", "16", "--chunk-tokens", "100", "--fusion", "kv")


@pytest.fixture(scope="module")
def tiny(write_tiny_model):
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=WINDOW, spread=0.2)


@pytest.fixture(scope="module")
def text(tiny):
    """Five windows."""
    count = 5 * WINDOW // len(AutoTokenizer.from_pretrained(tiny)(SENTENCE).input_ids)
    return SENTENCE * (count // 2) + FACT + SENTENCE * (count // 2)


@pytest.fixture(scope="module")
def book(text):
    size = len(text) // 20 + 1
    pages = (Page(number, f"p{number}", text[(number - 1) * size : number * size]) for number in range(1, 21))
    return Document("book.pdf", "pdf", "page", tuple(pages), 20)


def open_book(tiny, book, *questions, **changes):
    settings = ReadSettings(model=str(tiny), fusion="kv", **changes.pop("settings", {}))
    return open_reading([book], settings, questions=questions, max_new_tokens=16, **changes)


def ask(reading, question=QUESTION):
    return reading.ask(question, SAMPLING, lambda piece: None)


def test_through_the_entry_point(call_lcdoc, json_schema, tiny, text, tmp_path):
    (tmp_path / "ship.txt").write_text(text)
    done = call_lcdoc("ask", "ship.txt", QUESTION, "--model", tiny, "--json", *OPTIONS)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    json_schema("answer").validate(answer)
    plan, receipt = answer["plan"], answer["receipt"]
    assert (plan["mode"], receipt["mode"], receipt["fusion"]) == ("parts", "parts", "kv")
    assert "tokens of them together, as they were read there, those that bear" in plan["loss"]
    assert receipt["tokens_read"] == receipt["tokens_total"] and not receipt["exact"]
    [note] = [note for note in receipt["notes"] if note.startswith(f"read in {plan['parts']} parts; the ")]
    assert (
        "were attended to together, as they were read in their parts: lines " in note and note in done.stderr
    )
    assert "joining passages" in done.stderr and "reading again" not in done.stderr
    lines = [page["label"] for page in receipt["pages_reread"]]
    fact_line = text[: text.index(FACT)].count("\n") + 1
    bounds = [label.removeprefix("lines ").split("-") for label in lines]
    assert any(int(first) <= fact_line <= int(last) for first, last in bounds)


def test_nothing_is_read_again_for_the_answer(tiny, book, monkeypatch):
    reading = open_book(tiny, book, QUESTION)
    reading.read()
    passes, prefill = [], engine_reader.Reader.prefill

    def listening(self, token_ids, *args, **kwargs):
        passes.append(len(token_ids))
        prefill(self, token_ids, *args, **kwargs)

    monkeypatch.setattr(engine_reader.Reader, "prefill", listening)
    receipt = ask(reading).receipt
    prompt = reading._prompt
    asked, between = len(prompt.question_ids(QUESTION, first=True)), len(prompt.between_ids())
    alone, *judged, last = passes
    assert (alone, last) == (len(prompt.head_ids()) + between, asked)
    assert len(judged) > 5 and set(judged) == {between}  # what they were judged by stands in the parts, too
    assert reading._sweep.tokens_swept == reading.tokens_total
    assert receipt.fusion == "kv" and len(receipt.pages_reread) > 1


def test_the_answer_is_that_over_keys_and_values_of_the_parts(tiny, book):
    """Against a second reading of the parts, by stock transformers."""
    reading = open_book(tiny, book, QUESTION, settings={"dtype": "float32"})
    answer = ask(reading)
    stock = AutoModelForCausalLM.from_pretrained(tiny, dtype=torch.float32).eval()
    head_ids = reading._prompt.head_ids()
    chosen = sorted(reading._chosen(QUESTION), key=lambda span: span.start)
    pieces = reading._sweep.kept(QUESTION).joint(chosen)._pieces[1:]
    assert [piece.num_tokens for piece in pieces] == [span.num_tokens for span in chosen]
    for span, piece in zip(chosen, pieces, strict=True):
        [part] = [part for part in reading._sweep._parts if part[0].start <= span.start <= part[-1].start]
        ids = torch.tensor([[*head_ids, *reading.tokens.token_ids[part[0].start : part[-1].stop]]])
        with torch.inference_mode():
            layers = stock(ids, use_cache=True).past_key_values.layers
        first = len(head_ids) + span.start - part[0].start
        assert piece.position == first
        for idx, layer in enumerate(layers):
            wanted = layer.keys[:, :, first : first + span.num_tokens]
            assert torch.allclose(piece.tensors[f"{idx}.0.keys"], wanted, atol=1e-4)
    assert answer.answer == ask(open_book(tiny, book, QUESTION, settings={"dtype": "float32"})).answer


def test_an_excerpts_tokens_stand_where_its_text_does(tiny, book):
    reading = open_book(tiny, book, QUESTION)
    chosen = reading._chosen(QUESTION)
    [short] = reading.passages(QUESTION)
    tokens = excerpt_tokens(reading.tokens, [book], chosen)
    assert sum(span.num_tokens for span in chosen) == len(tokens.token_ids) == len(tokens.char_starts)
    assert [span.page.label for span in tokens.spans] == [page.label for page in short.pages]
    decode = reading._prompt.tokenizer.decode
    for page in tokens.spans:
        own = range(page.start, page.stop)
        starts = [tokens.char_starts[idx] for idx in own]
        assert starts == sorted(starts)
        for idx in own:
            word = decode([tokens.token_ids[idx]]).strip()
            if starts[idx - page.start] and word.isascii():  # the marker before a page's text stands nowhere
                begins = page.page.text[tokens.char_starts[idx] :].lstrip()
                assert begins.startswith(word), (word, begins[:20])


def test_several_questions_and_one_that_comes_back(tiny, book):
    second, third = "Who waited?", "The wind?"
    reading = open_book(tiny, book, QUESTION, second)
    answers = {question: ask(reading, question) for question in (QUESTION, second)}
    swept = reading._sweep.tokens_swept
    ask(reading, third)  # what was kept for the others makes room
    assert reading._sweep.kept(QUESTION) is None and reading._sweep.tokens_swept > swept
    again = ask(reading)
    assert (again.answer, again.receipt) == (answers[QUESTION].answer, answers[QUESTION].receipt)
    alone = ask(open_book(tiny, book, second), second)
    assert (alone.answer, alone.receipt) == (answers[second].answer, answers[second].receipt)


def test_what_is_kept_is_within_the_plan(tiny, book):
    questions = QUESTION, "Who waited?"
    reading, one = open_book(tiny, book, *questions), open_book(tiny, book, QUESTION)
    reading.read()
    kept = sum(reading._sweep.kept(question).nbytes for question in questions)
    assert 0 < kept <= reading._plan.kept_bytes == 2 * one._plan.kept_bytes
    assert reading._plan.peak_bytes >= reading._plan.part.rung.peak_bytes + reading._plan.kept_bytes


def test_parts_from_the_store_leave_the_same(call_lcdoc, tiny, text, tmp_path):
    (tmp_path / "ship.txt").write_text(text)
    words = ("ask", "ship.txt", QUESTION, "--model", tiny, "--json", "--store", "on", *OPTIONS)
    first, second = (json.loads(call_lcdoc(*words).stdout) for _ in range(2))
    assert first["receipt"]["tokens_from_store"] < first["receipt"]["tokens_total"]
    assert second["receipt"]["tokens_from_store"] == second["receipt"]["tokens_total"]
    assert first["answer"] == second["answer"]


def test_what_memory_is_refused_to_is_read_and_told(tiny, book, monkeypatch):
    load, refused = JointTokens.load, []

    def refusing(self, token_ids, take):
        if not refused:
            refused.append(self.tokens_left)
            self.close()
            raise AllocationFailed("no memory")
        return load(self, token_ids, take)

    notes = []
    reading = open_book(tiny, book, QUESTION, settings={"chunk_tokens": 256}, on_note=notes.append)
    reading.judge(QUESTION)
    monkeypatch.setattr(JointTokens, "load", refusing)
    receipt = ask(reading).receipt
    assert notes and notes[0].startswith("an allocation failed: going on with ")
    assert f"where memory was refused, {refused[0]:,} tokens of them were read again" in receipt.notes[0]
    assert notes[0] in receipt.notes


@pytest.mark.parametrize(
    "options,code,words",
    [
        (("--mode", "exact"), 2, "--fusion kv reads every part in full"),
        (("--mode", "duo"), 2, "it can't go with --mode duo"),
        (("--keep", "25%"), 2, "it can't go with --evict or --keep"),
        (("--extend", "ntk"), 2, "it can't go with --extend ntk"),
        (("--kv-dtype", "int8"), 2, "--fusion kv keeps keys and values as the model computes them"),
    ],
)
def test_what_does_not_go_with_it_is_refused_in_one_line_before_loading(
    call_lcdoc, monkeypatch, tiny, text, tmp_path, options, code, words
):
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    (tmp_path / "ship.txt").write_text(text)
    done = call_lcdoc("ask", "ship.txt", "What?", "--model", tiny, *OPTIONS, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr and done.stderr.count("lcdoc:") == 1


def test_a_model_whose_layers_drop_tokens_is_refused(call_lcdoc, tiny, text, tmp_path):
    config = AutoConfig.for_model(
        "mistral",
        vocab_size=AutoConfig.from_pretrained(tiny).vocab_size,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=WINDOW,
        sliding_window=64,
        bos_token_id=None,
        eos_token_id=1,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tiny).save_pretrained(tmp_path / "model")
    (tmp_path / "ship.txt").write_text(text)
    done = call_lcdoc("ask", "ship.txt", QUESTION, "--model", tmp_path / "model", *OPTIONS)
    assert (done.returncode, done.stdout) == (2, "")
    assert "layers with a window of their own" in done.stderr and done.stderr.count("lcdoc:") == 1


# The plan, for a model of a window of 8,192 tokens.


def asked(budget_bytes=1 << 40, *, num_questions=1, **changes):
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
        **changes,
    )
    shape = ModelShape.from_config(config, 0, torch.float32)

    def make(settings, need):
        settings = replace(settings, profile=None)
        return make_plan(config, settings, need, shape, base_bytes=0, budget_bytes=budget_bytes)

    need = Need(100_000, 100, 512, False, num_questions=num_questions)
    return make, config, ReadSettings(fusion="kv"), need, shape


def planned(budget_bytes=1 << 40, **changes):
    return plan_parts(*asked(budget_bytes, **changes), None)


def test_what_is_kept_is_planned_for_every_question():
    plan = planned()
    token_bytes = 2 * 2 * 2 * 16 * 4  # layers, KV heads, keys and values, head_dim, float32
    assert is_read_in_parts(*asked())
    assert (plan.kept_tokens, plan.kept_bytes) == (4500, 4500 * token_bytes)
    make, config, settings, need, shape = asked()
    rereading = plan_parts(make, config, replace(settings, fusion="parts"), need, shape, None)
    assert rereading.kept_bytes == 0 and rereading.peak_bytes == plan.peak_bytes - plan.kept_bytes
    assert planned(num_questions=3).kept_bytes == 3 * plan.kept_bytes
    tight = planned(plan.peak_bytes - 1)
    assert tight.tokens < plan.tokens and tight.peak_bytes < plan.peak_bytes
    with pytest.raises(DoesNotFitError, match="--fusion kv keeps 12 MB .*ask fewer questions at once"):
        planned(plan.peak_bytes, num_questions=5)


def test_the_plan_says_that_nothing_is_read_again(call_lcdoc, json_schema, write_tiny_model, text, tmp_path):
    wider = write_tiny_model(digits="alone", vocab_size=600, num_layers=1, window=2048, spread=0.2)
    (tmp_path / "ship.txt").write_text(text * 4)
    words = ("plan", "ship.txt", "--model", wider, "--device", "cuda", "--budget", "1GB")
    rereading, joining = (
        json.loads(call_lcdoc(*words, "--fusion", fusion, "--json").stdout) for fusion in ("parts", "kv")
    )
    for plan in (rereading, joining):
        json_schema("plan").validate(plan)
    sizes = [
        (plan["parts"]["reread_tokens"], plan["parts"]["joined_tokens"]) for plan in (rereading, joining)
    ]
    assert sizes[0] == sizes[1][::-1] and sizes[0][0] > 0 == sizes[0][1]
    told = call_lcdoc(*words, "--fusion", "kv").stdout
    assert f"of which each answer sees up to {sizes[1][1]:,} of them; the sizes are" in told
    peaks = [plan["ways"][0]["predicted_peak_bytes"] for plan in (rereading, joining)]
    assert peaks[0] < peaks[1]


def test_parts_are_short_where_a_model_turns_keys_of_long_texts_by_other_angles():
    factors = {"short_factor": [1.0] * 8, "long_factor": [4.0] * 8, "original_max_position_embeddings": 3000}
    rope = {"rope_type": "longrope", "rope_theta": 10_000.0, **factors}
    plan = planned(rope_parameters=rope)
    assert plan.again.room.capacity_tokens <= 3000 and plan.part.room.capacity_tokens <= 3000
    make, config, settings, need, shape = asked(rope_parameters=rope)
    rereading = plan_parts(make, config, replace(settings, fusion="parts"), need, shape, None)
    assert plan.tokens == rereading.tokens // 2 > 1000


def test_layers_with_windows_leave_no_such_way_below_reading_at_once():
    make, config, settings, need, shape = asked()
    short, windowed = replace(need, document_tokens=7_000), replace(shape, windows=(None, 4096))
    assert parts_below(make, config, settings, short, shape, None)
    assert parts_below(make, config, settings, short, windowed, None) is None
    assert parts_below(make, config, replace(settings, fusion="auto"), short, windowed, None)


@pytest.mark.model
def test_the_default_model_tells_two_facts_from_far_apart_within_its_budget(run_lcdoc, json_schema, tmp_path):
    novel = (Path(__file__).parents[1] / "data/docs/frankenstein.txt").read_text("utf-8")[20_000:56_000]
    pieces = novel.split("\n\n")
    first, second = draw_needle("magic", "0", []), draw_needle("locker", "1", [])
    pieces.insert(len(pieces) // 4, first.sentence)
    pieces.insert(3 * len(pieces) // 4, second.sentence)
    (tmp_path / "novel.txt").write_text("\n\n".join(pieces))
    words = (
        "ask",
        "novel.txt",
        "-q",
        first.question,
        "-q",
        second.question,
        "--fusion",
        "kv",
        "--budget",
        "1.2GB",
        "--max-new-tokens",
        "24",
    )
    done = run_lcdoc(*words, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    json_schema("answer").validate(told)
    for answer, number in zip(told["answers"], (first.value, second.value), strict=True):
        assert number in answer["answer"] and answer["receipt"]["fusion"] == "kv"
        assert answer["receipt"]["parts"] > 1 and answer["receipt"]["tokens_total"] > 8192
        memory = answer["memory"]
        assert memory["peak_bytes"] <= memory["budget_bytes"] == 1_200_000_000
