"""Keys and values of tokens that were read apart, in one cache."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from lcdoc.engine.attention import register
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.rope import Rotation
from lcdoc.fusion.joint_tokens import JointTokens, ReadTokens

HEAD, FIRST, SECOND = [3, 4, 5, 6], list(range(10, 61)), list(range(100, 137))
QUESTION = [20, 21, 22]


@pytest.fixture(scope="module")
def model(tiny):
    return AutoModelForCausalLM.from_pretrained(
        tiny, attn_implementation=register(), dtype=torch.float32
    ).eval()


def new_reader(model, chunk_tokens=1000):
    return Reader(model, HeadSplit.exact(), capacity_tokens=200, chunk_tokens=chunk_tokens)


def have_read(model, token_ids):
    reader = new_reader(model)
    reader.read(token_ids)
    return reader


def asked(reader):
    reader.prefill(QUESTION)
    return reader.logits


@pytest.mark.parametrize("chunk_tokens", [1, 7, 1000])
def test_what_stays_where_it_was_answers_as_one_reading_does(model, chunk_tokens):
    whole = have_read(model, HEAD + FIRST + SECOND)
    borders = [0, 4, 30, 55, 92]
    pieces = [
        ReadTokens.of(whole.cache, start, stop) for start, stop in zip(borders, borders[1:], strict=False)
    ]
    taking, joint = new_reader(model, chunk_tokens), JointTokens(pieces, Rotation.of(model))
    assert joint.tokens_left == len(HEAD + FIRST + SECOND)
    taking.read(HEAD + FIRST + SECOND, checkpoints=joint)
    assert joint.tokens_left == 0 and taking.seen_tokens == whole.seen_tokens
    for (_, ours), (_, theirs) in zip(taking.cache.groups(), whole.cache.groups(), strict=True):
        assert all(torch.equal(*pair) for pair in zip(ours.held(), theirs.held(), strict=True))
    assert torch.allclose(asked(taking), asked(whole), atol=1e-5)


def test_what_moves_is_turned_to_its_new_place(model):
    """What the first layer makes of a token depends on its place alone, not on what stands before it."""
    apart = have_read(model, HEAD + SECOND)
    pieces = [
        ReadTokens.of(have_read(model, HEAD + FIRST).cache, 0, 55),
        ReadTokens.of(apart.cache, len(HEAD), len(HEAD + SECOND)),
    ]
    taking = new_reader(model, 20)
    taking.read(HEAD + FIRST + SECOND, checkpoints=JointTokens(pieces, Rotation.of(model)))
    whole = have_read(model, HEAD + FIRST + SECOND)
    first, *_, last = zip(taking.cache.groups(), whole.cache.groups(), strict=True)
    (_, ours), (_, theirs) = first
    for mine, other in zip(ours.held(), theirs.held(), strict=True):
        assert torch.allclose(mine, other, atol=1e-5)
    (_, ours), (_, theirs) = last
    assert not torch.allclose(
        ours.held()[1], theirs.held()[1], atol=1e-5
    )  # the second knows nothing of the first
    unturned = apart.cache.gained(len(HEAD))["0.0.keys"]
    assert not torch.allclose(ours.held()[0][:, :, 55:], unturned, atol=1e-3)


def test_moved_together_they_are_to_each_other_what_they_were(model):
    """Attention depends on distances: everything turned by as much leaves the same logits."""
    near, far = have_read(model, FIRST), new_reader(model)
    far.read(HEAD + FIRST)  # makes the buffers, for a form
    moved = ReadTokens.of(near.cache, 0, len(FIRST))
    shifted = ReadTokens(moved.position - 40, moved.num_tokens, moved.layers, moved.tensors)
    taking = Reader(
        model,
        HeadSplit.exact(),
        capacity_tokens=200,
        place=lambda positions: positions + 40,  # the question follows where the keys were moved
    )
    taking.read(FIRST, checkpoints=JointTokens([shifted], Rotation.of(model)))
    assert torch.allclose(asked(taking), asked(near), atol=1e-4)


def test_copies_outlive_the_cache_and_count_their_bytes(model):
    reader = have_read(model, HEAD + FIRST)
    tokens = ReadTokens.of(reader.cache, 4, 14)
    before = tokens.tensors["1.0.keys"].clone()
    with torch.inference_mode():
        for _, buffer in reader.cache.groups():
            buffer.keys.zero_()
    assert torch.equal(tokens.tensors["1.0.keys"], before) and before.shape[2] == 10
    heads, width = before.shape[1], before.shape[3]
    assert tokens.nbytes == 3 * 2 * heads * 10 * width * 4  # layers, keys and values, float32


def test_once_closed_the_rest_is_read(model):
    whole = have_read(model, HEAD + FIRST)
    joint = JointTokens([ReadTokens.of(whole.cache, 0, 55)], Rotation.of(model))
    taking = new_reader(model, 20)
    done = []

    def close(num_tokens):
        done.append(num_tokens)
        joint.close()

    taking.read(HEAD + FIRST, close, checkpoints=joint)
    assert done == [20, 40, 55] and joint.tokens_left == 35
    assert torch.allclose(asked(taking), asked(whole), atol=1e-5)
