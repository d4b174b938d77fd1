"""What chunks leave in a cache, taken out and put into another: bit by bit the cache of an uninterrupted reading."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch

from lcdoc.engine.checkpoint import Checkpoint
from lcdoc.engine.extension import Extension
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader

LENGTH, CHUNK, ROOM = 400, 96, 60

STREAM = HeadSplit.stream(2, 2, sink_size=8, recent_size=40)
MIXED = HeadSplit((frozenset({0}), frozenset({0, 1})), sink_size=8, recent_size=40, prefill_recent_size=150)

WAYS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "exact": ("llama", {}, {}),
    "bfloat16": ("llama", {}, {"kv_dtype": "bfloat16"}),
    "int8": ("llama", {}, {"kv_dtype": "int8"}),
    "int4": ("llama", {}, {"kv_dtype": "int4"}),
    "stream": ("llama", {}, {"split": STREAM}),
    "duo-int8": ("llama", {}, {"split": MIXED, "kv_dtype": "int8"}),
    "self-extend": ("llama", {"max_position_embeddings": 256}, {"extend": "self-extend"}),
    "lm-infinite": ("llama", {"max_position_embeddings": 256}, {"extend": "lm-infinite", "split": STREAM}),
    "own windows": ("mistral", {"sliding_window": 64}, {}),
}


class Kept:
    """Checkpoints in memory. seen: whether the chunks were taken from here."""

    def __init__(self, chunks: dict[tuple[int, ...], Checkpoint]) -> None:
        self.chunks, self.seen = chunks, list[bool]()

    def load(self, token_ids: Sequence[int], take: Callable[[Checkpoint], None]) -> bool:
        found = self.chunks.get(tuple(token_ids))
        self.seen.append(found is not None)
        if found is not None:
            take(found)
        return found is not None

    def save(self, token_ids: Sequence[int], checkpoint: Checkpoint) -> None:
        tensors = {name: tensor.clone() for name, tensor in checkpoint.tensors.items()}
        self.chunks[tuple(token_ids)] = Checkpoint(checkpoint.layers, tensors)


@pytest.fixture(scope="module")
def ids() -> list[int]:
    return torch.randint(97, (LENGTH,), generator=torch.Generator().manual_seed(1)).tolist()


def make_reader(model: Any, options: dict[str, Any]) -> Reader:
    options = dict(options)
    method = options.pop("extend", None)
    extension = Extension.of(method, model.config, LENGTH + ROOM) if method else None
    split = options.pop("split", HeadSplit.exact())
    sizes = {"capacity_tokens": LENGTH + ROOM, "chunk_tokens": CHUNK}
    return Reader(model, split, extension=extension, **sizes, **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("missing", [None, 2], ids=["all chunks", "one missing"])
def test_a_cache_put_back_is_the_very_same(
    way: str, missing: int | None, tiny_decoder: Callable[..., Any], ids: list[int]
) -> None:
    kind, config, options = WAYS[way]
    model = tiny_decoder(kind, **config)
    whole, again = make_reader(model, options), make_reader(model, options)
    kept = Kept({})
    whole.read(ids, checkpoints=kept)
    chunks = list(kept.chunks)
    assert len(chunks) == 5 and not any(kept.seen)
    if missing is not None:
        del kept.chunks[chunks[missing]]
    kept.seen.clear()
    again.read(ids, checkpoints=kept)
    assert kept.seen == [index != missing for index in range(5)]
    assert torch.equal(whole.logits, again.logits)
    assert state(whole) == state(again)
    question = ids[:30]
    whole.prefill(question)
    again.prefill(question)
    assert torch.equal(whole.logits, again.logits)
    told = [list(reader.decode(lambda logits: int(logits.argmax()), (), 8)) for reader in (whole, again)]
    assert told[0] == told[1]


def test_a_text_may_go_on_after_what_was_put_back(tiny_decoder: Callable[..., Any], ids: list[int]) -> None:
    model, kept = tiny_decoder("llama"), Kept({})
    make_reader(model, {}).read(ids[: 3 * CHUNK], checkpoints=kept)
    whole, longer = make_reader(model, {}), make_reader(model, {})
    whole.read(ids)
    kept.seen.clear()
    longer.read(ids, checkpoints=kept)
    assert kept.seen == [True, True, True, False, False]
    assert torch.equal(whole.logits, longer.logits)


def test_a_chunk_that_can_not_be_put_back_leaves_the_cache_as_it_was(
    tiny_decoder: Callable[..., Any], ids: list[int]
) -> None:
    model, kept = tiny_decoder("llama"), Kept({})
    options = {"split": MIXED, "kv_dtype": "int8"}
    make_reader(model, options).read(ids, checkpoints=kept)
    second = kept.chunks[tuple(ids[CHUNK : 2 * CHUNK])]
    for reader in (make_reader(model, options), make_reader(model, options)):
        broken = {name: tensor for name, tensor in second.tensors.items() if not name.startswith("1.")}
        with pytest.raises(KeyError):
            reader.read(
                ids,
                checkpoints=Kept(
                    {**kept.chunks, tuple(ids[CHUNK : 2 * CHUNK]): Checkpoint(second.layers, broken)}
                ),
            )
        assert reader.seen_tokens == CHUNK
        reader.read(ids[CHUNK:], checkpoints=kept)
    whole = make_reader(model, options)
    whole.read(ids)
    assert torch.equal(whole.logits, reader.logits) and state(whole) == state(reader)


def state(reader: Reader) -> list[Any]:
    """All that is held, and how much was seen."""
    held = reader.cache.gained(0)
    sizes = [(buffer.seen_tokens, buffer.nbytes) for _, buffer in reader.cache.groups()]
    return [sizes, {name: tensor.float().tolist() for name, tensor in held.items()}]
