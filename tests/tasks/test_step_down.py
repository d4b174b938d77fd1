"""Memory refused in the middle of a reading or an answer: the plan steps down, says so, and nothing is read twice."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents import load_document
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import load_profile
from lcdoc.errors import DoesNotFitError
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.plan import Plan, make_plan
from lcdoc.tasks.room import Need

SPECIALS = ["<|im_start|>", "<|im_end|>"]
TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
QUESTION = "Where did the boat go?"
TEXT = "The boat left the harbour in the evening, and nobody on the quay saw where it went. " * 14
CHUNK = 256


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two layers in float32, a token per byte."""
    return save_model(tmp_path_factory.mktemp("models") / "tiny", num_hidden_layers=2, num_key_value_heads=8)


@pytest.fixture(scope="session")
def deep_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of the default model's heads and layers, which its profile fits."""
    return save_model(tmp_path_factory.mktemp("models") / "deep", num_hidden_layers=30, num_key_value_heads=3)


def save_model(folder: Path, *, num_hidden_layers: int, num_key_value_heads: int) -> Path:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokens = {token: index for index, token in enumerate([*SPECIALS, *alphabet])}
    bpe = Tokenizer(models.BPE(tokens, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.add_special_tokens([AddedToken(token, special=True) for token in SPECIALS])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token=SPECIALS[1])
    tokenizer.chat_template = TEMPLATE
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokens),
        hidden_size=8 * num_key_value_heads,
        intermediate_size=64,
        num_hidden_layers=num_hidden_layers,
        num_attention_heads=num_key_value_heads,
        num_key_value_heads=num_key_value_heads,
        head_dim=64,  # so wide that evicting saves more than judging takes
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=1,
        initializer_range=0.2,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Refusing:
    """Stands before a model's last layer, counts what comes by, and refuses memory when it is told to."""

    def __init__(self, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[int] = []
        self.refused = 0
        self.when: Callable[[list[int]], bool] = lambda done: False
        part = reading._model.model.layers[-1].mlp
        self._forward = part.forward
        monkeypatch.setattr(part, "forward", self)

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        if self.when(self.done):
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        self.done.append(hidden.shape[1])
        return self._forward(hidden)


@pytest.fixture
def reading_of(tiny_folder: Path, tmp_path: Path) -> Callable[..., Reading]:
    path = tmp_path / "boat.txt"
    path.write_text(TEXT, encoding="utf-8")

    def make(*, questions: tuple[str, ...] = (QUESTION,), on_note=lambda note: None, **settings) -> Reading:
        options = {"model": str(tiny_folder), "device": "cpu", "dtype": "float32", "chunk_tokens": CHUNK}
        return Reading(
            [load_document(str(path))],
            ReadSettings(**options | settings),
            max_new_tokens=64,
            questions=questions,
            on_note=on_note,
        )

    return make


def refusals_in_row(refusing: Refusing, chunks: int, times: int) -> None:
    """Refuses after so many chunks, so many times."""
    refusing.when = lambda done: len(done) == chunks and refusing.refused < times


@pytest.mark.parametrize(
    "settings,names",
    [
        ({}, ["chunks of 128"]),
        ({}, ["chunks of 128", "bfloat16 KV"]),
        ({}, ["chunks of 128", "bfloat16 KV", "int8 KV"]),
        ({}, ["chunks of 128", "bfloat16 KV", "int8 KV", "int4 KV"]),
        ({"mode": "exact"}, ["chunks of 128"]),
        ({"evict": "recent"}, ["chunks of 128", "bfloat16 KV", "40% kept", "30% kept"]),
        ({"evict": "question", "keep": "50%"}, ["chunks of 128"]),
        ({"mode": "stream", "sink_size": 8, "recent_size": 64}, ["chunks of 128"]),
    ],
    ids=str,
)
def test_the_reading_goes_on_from_the_last_whole_chunk(reading_of, monkeypatch, settings, names):
    told: list[str] = []
    reading = reading_of(on_note=told.append, **settings)
    refusing = Refusing(reading, monkeypatch)
    refusals_in_row(refusing, 2, len(names))
    reading.read()
    assert refusing.refused == len(names)
    total = reading.tokens_total + len(reading._head_ids)
    lengths = [length for length in refusing.done if length >= 100 or "evict" not in settings]
    if settings.get("evict") != "question":
        assert lengths[:2] == [CHUNK, CHUNK] and set(lengths[2:-1]) == {128}
        assert total in accumulate(refusing.done), "what was read was not read again"
        assert sum(refusing.done) == total
    assert reading._reader.seen_tokens == total and reading.tokens_read == reading.tokens_total
    notes = [f"an allocation failed: going on with {name}" for name in names]
    assert told == notes
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=8), lambda text: None)
    assert [note for note in answer.receipt.notes if "allocation" in note] == notes
    assert answer.plan.rung == names[-1] and answer.plan.chunk_tokens == 128
    assert answer.memory.predicted_peak_bytes == answer.plan.predicted_peak_bytes
    lossless = not settings.keys() - {"mode"} and settings.get("mode") != "stream" and len(names) == 1
    assert answer.receipt.exact == lossless
    assert bool(answer.plan.loss) != lossless
    kind = names[-1].removesuffix(" KV")
    assert answer.plan.kv_dtype == (kind if kind in ("bfloat16", "int8", "int4") else answer.plan.kv_dtype)


def test_a_refusal_at_the_very_first_chunk(reading_of, monkeypatch):
    reading, plain = reading_of(), reading_of(kv_dtype="bfloat16", chunk_tokens=128)
    refusing = Refusing(reading, monkeypatch)
    refusals_in_row(refusing, 0, 2)
    answers = [one.ask(QUESTION, Sampling(max_new_tokens=20), lambda text: None) for one in (reading, plain)]
    assert answers[0].plan.rung == "bfloat16 KV"
    assert answers[0].answer == answers[1].answer
    assert answers[0].memory.kv_bytes == answers[1].memory.kv_bytes


def test_where_no_lesser_way_is_left_one_line_says_what_helps(reading_of, monkeypatch):
    told: list[str] = []
    reading = reading_of(mode="exact", on_note=told.append)
    refusing = Refusing(reading, monkeypatch)
    refusing.when = lambda done: len(done) == 2
    with pytest.raises(
        DoesNotFitError, match="after 512 tokens .* less than chunks of 128; .*--pages"
    ) as caught:
        reading.read()
    assert "\n" not in str(caught.value) and len(told) == 1


@pytest.mark.parametrize("tokens", [0, 1, 5], ids=lambda n: f"after-{n}")
def test_an_answer_goes_on_after_a_refusal(reading_of, monkeypatch, tokens):
    plain = reading_of().ask(QUESTION, Sampling(max_new_tokens=24), lambda text: None)
    reading, pieces = reading_of(), []
    reading.read()
    read_tokens = reading._reader.seen_tokens
    refusing = Refusing(reading, monkeypatch)
    refusals_in_row(refusing, tokens, 1)
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=24), pieces.append)
    assert refusing.refused == 1
    assert answer.answer == plain.answer == "".join(pieces).strip() != ""
    assert answer.plan.rung == "chunks of 128" and answer.receipt.exact
    assert max(refusing.done) < 128, "the document was not read again"
    assert reading._reader.seen_tokens == read_tokens


def test_a_later_question_is_asked_of_the_moved_cache(reading_of, monkeypatch):
    reading = reading_of()
    refusing = Refusing(reading, monkeypatch)
    reading.read()
    chunks = len(refusing.done)
    refusals_in_row(refusing, chunks + 3, 3)
    first = reading.ask(QUESTION, Sampling(max_new_tokens=12), lambda text: None)
    assert first.plan.rung == "int8 KV" and not first.receipt.exact
    again = [reading.ask(QUESTION, Sampling(max_new_tokens=12), lambda text: None) for _ in range(2)]
    assert again[0].answer == again[1].answer != ""
    assert max(refusing.done[chunks:]) < 128


def test_a_chat_with_turns_steps_down_only_where_they_are_kept(reading_of, monkeypatch):
    reading = reading_of(questions=())
    reading.ask(QUESTION, Sampling(max_new_tokens=8), lambda text: None, keep_turn=True)
    seen = reading._reader.seen_tokens
    refusing = Refusing(reading, monkeypatch)
    refusals_in_row(refusing, 2, 1)
    answer = reading.ask("And then?", Sampling(max_new_tokens=8), lambda text: None, keep_turn=True)
    assert answer.plan.rung == "chunks of 128" and reading._reader.seen_tokens > seen
    refusing.when = lambda done: True
    with pytest.raises(DoesNotFitError, match="an allocation failed"):
        reading.ask("Why?", Sampling(max_new_tokens=8), lambda text: None, keep_turn=True)
    refusing.when = lambda done: False
    reading.forget_turns()
    assert reading._reader.seen_tokens == reading.tokens_total + len(reading._head_ids)


# Two layers of eight KV heads, six of which stream below the threshold.
GATES = [[0.1, 0.9, 0.2, 0.9, 0.9, 0.3, 0.9, 0.9], [0.9, 0.15, 0.9, 0.9, 0.25, 0.9, 0.9, 0.35]]
SINK, RECENT, WIDE = 8, 40, 120


@pytest.fixture
def profile(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    sizes = {"sink_size": SINK, "recent_size": RECENT, "prefill_recent_size": WIDE}
    path.write_text(yaml.safe_dump({"model": "tiny", "gates": GATES, "source": "a test", **sizes}))
    return str(path)


DOWN = [
    "chunks of 128",
    "bfloat16 KV",
    "2 streaming heads",
    "4 streaming heads",
    "6 streaming heads",
    "int8 KV",
]
STREAMING = [0, 0, 2, 4, 6, 6]


@pytest.mark.parametrize("steps", range(2, 7), ids=lambda n: DOWN[n - 1])
@pytest.mark.parametrize("chunks", [0, 2], ids=["at-once", "half-read"])
def test_heads_come_to_stream_one_after_another(reading_of, profile, monkeypatch, steps, chunks):
    told: list[str] = []
    reading = reading_of(profile=profile, on_note=told.append)
    refusing = Refusing(reading, monkeypatch)
    refusals_in_row(refusing, chunks, steps)
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=8), lambda text: None)
    streaming = STREAMING[steps - 1]
    assert refusing.refused == steps and answer.plan.rung == DOWN[steps - 1]
    assert answer.plan.num_streaming_heads == streaming == answer.receipt.num_heads.get("streaming", 0)
    assert answer.plan.num_retrieval_heads == 16 - streaming == answer.receipt.num_heads["retrieval"]
    assert answer.receipt.mode == answer.plan.mode == ("duo" if streaming else "exact")
    assert not answer.receipt.exact
    whole = answer.receipt.kv_share_kept
    assert whole["retrieval"] == 1 and (not streaming or 0 < whole["streaming"] < 0.2)
    assert bool(answer.receipt.pages_evicted) == bool(streaming)
    ends = [f"; {n} more heads stream from token 512 on" * bool(n and chunks) for n in (0, 0, 2, 2, 2, 0)]
    notes = [f"an allocation failed: going on with {name}{end}" for name, end in zip(DOWN, ends, strict=True)]
    assert told == notes[:steps] == [note for note in answer.receipt.notes if "allocation" in note]
    assert any(f"{streaming} of 16 heads" in note for note in answer.receipt.notes) == bool(streaming)
    assert answer.plan.prefill_recent_size == (WIDE if streaming else 0)
    total = reading.tokens_total + len(reading._head_ids)
    assert reading._reader.seen_tokens == total and total in accumulate(refusing.done)


def test_from_the_start_it_reads_as_if_it_had_been_planned(reading_of, profile, monkeypatch):
    reading, planned = (
        reading_of(profile=profile),
        reading_of(profile=profile, mode="duo", chunk_tokens=128, kv_dtype="bfloat16"),
    )
    refusals_in_row(Refusing(reading, monkeypatch), 0, 5)
    answers = [
        one.ask(QUESTION, Sampling(max_new_tokens=20), lambda text: None) for one in (reading, planned)
    ]
    assert answers[0].plan.num_streaming_heads == answers[1].plan.num_streaming_heads == 6
    assert answers[0].answer == answers[1].answer and answers[0].memory.kv_bytes == answers[1].memory.kv_bytes
    assert answers[0].receipt.kv_share_kept == answers[1].receipt.kv_share_kept


def test_after_the_reading_heads_stream_over_their_own_window_alone(reading_of, profile, monkeypatch):
    reading = reading_of(profile=profile)
    reading.read()
    seen, refusing = reading._reader.seen_tokens, Refusing(reading, monkeypatch)
    refusals_in_row(refusing, 3, 4)
    first = reading.ask(QUESTION, Sampling(max_new_tokens=12), lambda text: None)
    assert first.plan.rung == "4 streaming heads" and first.receipt.num_heads == {
        "retrieval": 12,
        "streaming": 4,
    }
    assert first.plan.recent_size == first.plan.prefill_recent_size == RECENT, (
        "none of them had a wider window"
    )
    assert f"; 2 more heads stream from token {seen:,} on" in first.receipt.notes[-1]
    held = {buffer.num_held for _, buffer in windows_of(reading)}
    assert held == {SINK + RECENT} and max(refusing.done) < 128, "the document was not read again"
    again = [reading.ask(QUESTION, Sampling(max_new_tokens=12), lambda text: None) for _ in range(2)]
    assert again[0].answer == again[1].answer != "" and reading._reader.seen_tokens == seen


def windows_of(reading):
    return [pair for pair in reading._reader.cache.groups() if pair[0].kind == "streaming"]


def test_heads_that_streamed_while_the_document_was_read_had_the_wider_window(
    reading_of, profile, monkeypatch
):
    reading = reading_of(profile=profile)
    refusing = Refusing(reading, monkeypatch)
    refusals_in_row(refusing, 2, 3)
    reading.read()
    assert reading.plan.num_streaming_heads == 2
    refusals_in_row(refusing, len(refusing.done), 4)
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=8), lambda text: None)
    assert answer.plan.num_streaming_heads == 4
    assert (answer.plan.recent_size, answer.plan.prefill_recent_size) == (RECENT, WIDE)
    assert {buffer.recent_size for _, buffer in windows_of(reading)} == {RECENT}


def test_a_chats_turns_are_not_given_to_streaming(reading_of, profile, monkeypatch):
    reading = reading_of(profile=profile, questions=(), chunk_tokens=128)
    reading.ask(QUESTION, Sampling(max_new_tokens=8), lambda text: None, keep_turn=True)
    refusing = Refusing(reading, monkeypatch)
    refusals_in_row(refusing, 2, 1)
    with pytest.raises(DoesNotFitError, match="an allocation failed"):
        reading.ask("And then?", Sampling(max_new_tokens=8), lambda text: None, keep_turn=True)
    assert not windows_of(reading)


@pytest.mark.parametrize(
    ("settings", "chunks", "reached"),
    [({}, 2, "int8 KV"), ({"kv_dtype": "model"}, 0, "kept"), ({"kv_dtype": "model"}, 2, "kept")],
    ids=["int8", "evicting-at-once", "evicting-half-read"],
)
def test_the_default_models_own_profile_is_gone_down_to_the_end(
    reading_of, deep_folder, monkeypatch, tmp_path, settings, chunks, reached
):
    own = replace(load_profile("smollm2-135m-instruct"), prefill_recent_size=None)  # the text is short
    own.save(tmp_path / "own.yaml")
    reading = reading_of(model=str(deep_folder), profile=str(tmp_path / "own.yaml"), **settings)
    assert reading.plan.rung == "exact"
    refusing = Refusing(reading, monkeypatch)
    refusing.when = lambda done: len(done) == chunks and reached not in reading.plan.rung
    answer = reading.ask(QUESTION, Sampling(max_new_tokens=4), lambda text: None)
    assert reached in answer.plan.rung and refusing.refused < 15
    streaming = own.num_streaming
    assert answer.receipt.num_heads == {"retrieval": 90 - streaming, "streaming": streaming}
    assert answer.plan.num_streaming_heads == streaming > 0
    assert {buffer.seen_tokens for _, buffer in reading._reader.cache.groups()} == {
        reading.tokens_total + len(reading._head_ids)
    }


def plan_of(settings: ReadSettings, document_tokens: int) -> Plan:
    """A plan for the default model's shape, and memory for an exact reading."""
    config = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        intermediate_size=1536,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        max_position_embeddings=8192,
    )
    shape = ModelShape.from_config(config, 270_000_000, torch.bfloat16)
    need = Need(document_tokens, 50, 512, keep_turns=False)
    return make_plan(config, settings, need, shape, base_bytes=0, budget_bytes=1 << 40)


def stepping_down(plan: Plan, seen_tokens: int) -> Iterator[Plan]:
    while (lesser := plan.step_down(seen_tokens)) is not None:
        yield (plan := lesser)


def test_no_head_streams_over_a_text_that_it_would_hold_whole_while_reading() -> None:
    plan = plan_of(ReadSettings(profile="smollm2-135m-instruct"), 500)
    names = [rung.name for rung in plan.lesser]
    assert "int8 KV" in names and not any("streaming" in name for name in names)
    assert not any(rung.split.num_streaming_heads for rung in plan_of(plan.settings, 500).lesser)
    longer = plan_of(plan.settings, 3000)
    assert any(rung.split.num_streaming_heads for rung in longer.lesser)


@pytest.mark.parametrize("seen_tokens", [0, 1000, 6000])
def test_no_step_takes_a_head_back_or_frees_next_to_nothing(seen_tokens: int) -> None:
    plan = plan_of(ReadSettings(profile="smollm2-135m-instruct"), 6000)
    plans = [plan, *stepping_down(plan, seen_tokens)]
    for before, after in pairwise(plan.rung for plan in plans):
        assert before.split.is_within(after.split) and after.peak_bytes < before.peak_bytes
        if after.split != before.split:
            assert after.kv_bytes <= 0.9 * before.kv_bytes
    names = [plan.rung.name for plan in plans]
    assert names[-1].endswith("kept") if seen_tokens <= 1000 else names[-1] == "int4 KV"
    assert "int8 KV" in names and any("streaming" in name for name in names) and len(names) < 20


@pytest.mark.parametrize("seen_tokens", [0, 1000])
def test_heads_that_dropped_tokens_dont_part(seen_tokens: int) -> None:
    plan = plan_of(ReadSettings(profile="smollm2-135m-instruct", keep="50%"), 6000)
    splits = {lesser.rung.split.num_streaming_heads for lesser in stepping_down(plan, seen_tokens)}
    assert len(splits) > 1 if seen_tokens == 0 else splits == {0}
