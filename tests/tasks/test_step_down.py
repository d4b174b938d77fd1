"""Memory refused in the middle of a reading or an answer: the plan steps down, says so, and nothing is read twice."""

from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import pytest
import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents import load_document
from lcdoc.errors import DoesNotFitError
from lcdoc.tasks.ask import Reading

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
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=8,
        head_dim=64,  # so wide that evicting saves more than judging takes
        max_position_embeddings=4096,
        bos_token_id=None,
        eos_token_id=1,
        initializer_range=0.2,
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


class Refusing:
    """Stands before a model's last layer, counts what comes by, and refuses memory when it is told to."""

    def __init__(self, reading: Reading, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[int] = []
        self.refused = 0
        self.when: Callable[[list[int]], bool] = lambda done: False
        part = reading._model.model.layers[1].mlp
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
