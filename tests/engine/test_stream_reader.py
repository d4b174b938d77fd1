"""A text without end: what is held, where it stands, and that nothing else changes."""

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from lcdoc.engine.attention import register
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.stream_judges import Asked, Surprising
from lcdoc.engine.stream_reader import StreamReader
from lcdoc.engine.stream_sizes import StreamSizes

VOCAB = 97
SIZES = StreamSizes(sink=4, keep=12, window=24, chunk=16, after=20)
PLAIN = StreamSizes(sink=4, keep=0, window=24, chunk=16, after=20)


def make_model(num_layers: int) -> Any:
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=num_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCAB,
        max_position_embeddings=128,
        initializer_range=0.2,
    )
    config._attn_implementation = register()
    return LlamaForCausalLM(config).eval()


@pytest.fixture(scope="module")
def model() -> Any:
    return make_model(2)


def ids(length: int, seed: int = 1) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCAB, (length,), generator=generator).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_after_a_long_text_the_next_logits_are_those_of_what_is_held_alone(dtype: torch.dtype) -> None:
    """In one layer keys and values depend on the token alone, so that they can be had from a short text as well; after
    hundreds of moves they are as good as after none."""
    model = make_model(1).to(dtype)
    text, question = ids(3000), ids(7, 2)
    reading = StreamReader(model, PLAIN, None)
    reading.read(text)
    held = text[:4] + text[-(len(reading.held) - 4) :]
    assert reading.held.token_ids.tolist() == held
    short = Reader(model, HeadSplit.exact(), capacity_tokens=128)
    short.prefill(held)
    reading.reader.prefill(question)
    short.prefill(question)
    assert reading.reader.logits is not None and short.logits is not None
    tolerance = 1e-4 if dtype == torch.float32 else 0.1
    assert torch.allclose(reading.reader.logits, short.logits, atol=tolerance)


def test_positions_and_memory_stay_the_same_however_long_the_text(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    highest = []
    original = model.model.forward

    def spy(*args: Any, **kwargs: Any) -> Any:
        highest.append(int(kwargs["position_ids"].max()))
        return original(*args, **kwargs)

    monkeypatch.setattr(model.model, "forward", spy)
    reading = StreamReader(model, SIZES, Surprising())
    seen = set()
    for start in range(0, 1600, 16):
        reading.read(ids(16, start))
        if start >= 160:
            seen.add((reading.reader.cache.nbytes, len(reading.held)))
    assert len(seen) <= 2  # before a chunk is full and after
    assert max(highest) < SIZES.held + SIZES.chunk < 1600
    assert reading.seen_tokens == 1600 and reading.num_kept == 12
    offsets = reading.held.offsets.tolist()
    assert offsets[:4] == [0, 1, 2, 3] and offsets[-24:] == list(range(1576, 1600))
    assert offsets == sorted(set(offsets))


def test_pieces_make_no_difference(model: Any) -> None:
    text, readings = ids(300), []
    for size in (300, 16, 7):
        reading = StreamReader(model, SIZES, Surprising())
        for start in range(0, len(text), size):
            reading.read(text[start : start + size])
        readings.append(reading)
    for other in readings[1:]:
        assert other.held.offsets.tolist() == readings[0].held.offsets.tolist()
        assert torch.allclose(other.reader.logits, readings[0].reader.logits, atol=1e-4)


def test_the_judge_says_what_stays(model: Any) -> None:
    class Likes:
        needs_surprise = False

        def scores(self, reader: Reader, start: int, stop: int, surprise: torch.Tensor) -> torch.Tensor:
            return (reading.held.token_ids[start:stop] == 5).float()

    text = [token if token != 5 else 6 for token in ids(400)]
    text[40] = 5
    reading = StreamReader(model, SIZES, Likes())
    reading.read(text)
    assert 40 in reading.held.offsets.tolist()


def test_what_is_asked_leaves_no_trace(model: Any) -> None:
    judge = Asked([(0, 0), (1, 1)], ids(5, 3), ids(2, 4))
    asked, plain = StreamReader(model, SIZES, judge), StreamReader(model, PLAIN, None)
    text = ids(200)
    asked.read(text)
    plain.read(text[:40])
    scores = judge.scores(asked.reader, 4, 20, torch.zeros(16))
    assert scores.shape == (16,) and (scores >= 0).all()
    before = asked.reader.logits
    judge.scores(asked.reader, 4, 20, torch.zeros(16))
    assert torch.equal(asked.reader.logits, before) and len(asked.held) == asked.reader.seen_tokens


@pytest.mark.parametrize("length", [10, 56, 203])
def test_another_one_goes_on_bit_by_bit(model: Any, length: int) -> None:
    text = ids(400)
    first, second = StreamReader(model, SIZES, Surprising()), StreamReader(model, SIZES, Surprising())
    first.read(text[:length])
    checkpoint = first.reader.checkpoint(len(first.held))
    copied = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
    second.put(first.seen_tokens, first.num_kept, first.held, type(checkpoint)(checkpoint.layers, copied))
    for reading in (first, second):
        reading.read(text[length:])
    assert torch.equal(first.held.offsets, second.held.offsets)
    assert torch.equal(first.reader.logits, second.reader.logits)


def test_score_is_that_of_a_dense_reading_while_nothing_is_dropped(model: Any) -> None:
    text = ids(40)
    reading, dense = StreamReader(model, SIZES, None), Reader(model, HeadSplit.exact(), capacity_tokens=64)
    reading.read(text[:10])
    dense.prefill(text[:10])
    assert torch.allclose(reading.score(text[10:]), -dense.score(text[10:]), atol=1e-4)
