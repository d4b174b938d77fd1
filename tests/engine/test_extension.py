"""Positions beyond the trained window: each method's angles, and attention with grouped positions."""

import json
import math
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lcdoc.engine.attention import attend_buffer, register
from lcdoc.engine.budget import kv_bytes, mark_bytes
from lcdoc.engine.buffers import FullBuffer, SinkWindowBuffer
from lcdoc.engine.extension import Extension, extend_positions
from lcdoc.engine.grouped_buffer import GroupedBuffer
from lcdoc.engine.grouping import Grouping
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.reader import Reader
from lcdoc.engine.rope import Rotation
from lcdoc.errors import ModelError, UsageError

CONFIG = Path(__file__).parents[1] / "data" / "configs" / "small.json"
WINDOW, THETA, HEAD_DIM = 64, 1e4, 16
PAIRS = HEAD_DIM // 2
SMALL = json.loads(CONFIG.read_text(encoding="utf-8")) | {
    "max_position_embeddings": WINDOW,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.2,
}
OWN = [THETA ** (-2 * pair / HEAD_DIM) for pair in range(PAIRS)]
YARN = {
    "rope_type": "yarn",
    "rope_theta": THETA,
    "factor": 2.0,
    "original_max_position_embeddings": WINDOW // 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": THETA,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": WINDOW // 8,
}
FACTORS = {"factors": [1.0, 1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]}


def config_of(kind="llama", **options):
    return AutoConfig.for_model(kind, **SMALL | options)


def model_of(kind="llama", **options):
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(config_of(kind, **options), attn_implementation=register())
    return model.eval()


def angles(model):
    return model.get_decoder().rotary_emb.inv_freq


def extended(method, length, factors=None, kind="llama", **options):
    """The angles of a model extended so."""
    model = model_of(kind, **options)
    extend_positions(model, Extension.of(method, model.config, length, factors))
    return angles(model)


# What the papers' formulas come to.


def test_interpolation_divides_every_angle_by_the_length_in_windows():
    assert torch.allclose(extended("pi", 192), torch.tensor(OWN) / 3)


def test_ntk_with_twice_the_length_divides_the_slowest_angle_by_it_and_keeps_the_fastest():
    found = extended("ntk", 96)
    base = THETA * 3.0 ** (HEAD_DIM / (HEAD_DIM - 2))
    assert torch.allclose(found, torch.tensor([base ** (-2 * pair / HEAD_DIM) for pair in range(PAIRS)]))
    assert found[0] == 1.0 and found[-1].item() == pytest.approx(OWN[-1] / 3.0, rel=1e-5)


def test_yarn_is_what_its_paper_says():
    found = extended("yarn", 128)  # factor 4

    def rounds(beta):
        return HEAD_DIM * math.log(WINDOW / (beta * 2 * math.pi)) / (2 * math.log(THETA))

    low, high = max(math.floor(rounds(32)), 0), min(math.ceil(rounds(1)), HEAD_DIM - 1)
    for pair, own in enumerate(OWN):
        slow = min(max((pair - low) / (high - low), 0.0), 1.0)
        assert found[pair].item() == pytest.approx(own * (1 - slow) + own / 4 * slow, rel=1e-5)


@pytest.mark.parametrize(
    "method,stock",
    [
        ("pi", {"rope_type": "linear", "rope_theta": THETA, "factor": 2.0}),
        (
            "yarn",
            {
                "rope_type": "yarn",
                "rope_theta": THETA,
                "factor": 4.0,
                "original_max_position_embeddings": WINDOW,
            },
        ),
    ],
)
def test_an_extended_model_computes_what_transformers_does_with_these_parameters(method, stock):
    model, other = model_of(), model_of(rope_parameters=stock)
    other.load_state_dict(model.state_dict())
    extend_positions(model, Extension.of(method, model.config, 2 * WINDOW))
    assert torch.equal(angles(model), angles(other))
    example, positions = torch.zeros(1, 5, 1), torch.arange(100, 105)[None]
    ours, theirs = (one.get_decoder().rotary_emb(example, positions) for one in (model, other))
    assert torch.equal(ours[0], theirs[0]) and torch.equal(ours[1], theirs[1])


def test_longrope_slows_each_angle_by_its_own_factor_whatever_the_length_of_a_call():
    model = model_of()
    extend_positions(model, Extension.of("longrope", model.config, 128, FACTORS))
    rotary = model.get_decoder().rotary_emb
    wanted = torch.tensor(OWN) / torch.tensor(FACTORS["factors"])
    for last in (3, 100, 3):
        rotary(torch.zeros(1, 1, 1), torch.tensor([[last]]))
        assert torch.allclose(angles(model), wanted)
    assert rotary.attention_scaling == pytest.approx(math.sqrt(1 + math.log(2) / math.log(WINDOW)))


@pytest.mark.parametrize("length,capacity", [(50, 64), (20, 32)], ids=["long", "short"])
@pytest.mark.parametrize("kind", ["llama", "phi3"])
def test_a_model_with_two_tables_reads_in_chunks_what_it_reads_at_once(kind, length, capacity):
    own = {
        "rope_type": "longrope",
        "rope_theta": THETA,
        "short_factor": [1.0] * PAIRS,
        "long_factor": FACTORS["factors"],
        "original_max_position_embeddings": WINDOW // 2,
    }
    options = {"rope_parameters": own, "original_max_position_embeddings": WINDOW // 2}
    model = model_of(kind, **options)
    stock = AutoModelForCausalLM.from_config(config_of(kind, **options)).eval()
    stock.load_state_dict(model.state_dict())
    token_ids = torch.randint(3, 50, (length,), generator=torch.Generator().manual_seed(1)).tolist()
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=capacity, chunk_tokens=8)
    reader.prefill(token_ids)
    with torch.inference_mode():
        assert torch.allclose(reader.logits, stock(torch.tensor([token_ids])).logits[0, -1], atol=1e-4)


def test_longrope_takes_its_attention_factor_from_the_profile():
    rope = Extension.of("longrope", config_of(), 128, FACTORS | {"attention_factor": 1.25}).rope
    assert rope["attention_factor"] == 1.25


def test_longrope_leaves_the_first_tokens_as_they_were_trained():
    model = model_of()
    found = FACTORS | {"attention_factor": 1.25, "start_tokens": 3}
    extend_positions(model, Extension.of("longrope", model.config, 128, found))
    cosine, sine = model.get_decoder().rotary_emb(torch.zeros(1, 1, 1), torch.tensor([[0, 2, 3, 100]]))
    assert torch.allclose(angles(model), torch.tensor(OWN) / torch.tensor(FACTORS["factors"]))
    for row, position in enumerate((0, 2, 3, 100)):
        divisors = [1.0] * PAIRS if position < 3 else FACTORS["factors"]
        turned = [position * own / divisor for own, divisor in zip(OWN, divisors, strict=True)]
        for table, function in ((cosine, math.cos), (sine, math.sin)):
            wanted = torch.tensor([1.25 * function(angle) for angle in turned]).repeat(2)
            assert torch.allclose(table[0, row], wanted, atol=1e-5)


@pytest.mark.parametrize("start", [-1, 1.5, "4", None])
def test_a_start_that_is_no_number_of_tokens_is_refused(start):
    with pytest.raises(UsageError, match="start_tokens must be 0 or more tokens, not"):
        Extension.of("longrope", config_of(), 128, FACTORS | {"start_tokens": start})


def test_tokens_may_stand_elsewhere_than_they_are_numbered():
    model, ids = model_of(), torch.tensor([[3, 1, 4, 1, 5, 9]])
    places = torch.tensor([0, 1, 2, 20, 21, 40])
    reader = Reader(
        model, HeadSplit.exact(), capacity_tokens=6, chunk_tokens=4, place=lambda numbers: places[numbers]
    )
    reader.prefill(ids[0].tolist())
    model.set_attn_implementation("sdpa")
    with torch.no_grad():
        wanted = model(input_ids=ids, position_ids=places[None]).logits[0, -1]
    assert torch.allclose(reader.logits, wanted, atol=1e-4)


def test_partial_embeddings_are_extended_by_their_own_width():
    found = extended("ntk", 96, kind="phi", partial_rotary_factor=0.5)
    base = THETA * 3.0 ** (8 / 6)
    assert torch.allclose(found, torch.tensor([base ** (-2 * pair / 8) for pair in range(4)]))


@pytest.mark.parametrize(
    "method,own,changed",
    [
        ("pi", {"rope_type": "linear", "rope_theta": THETA, "factor": 3.0}, {"factor": 6.0}),
        (
            "ntk",
            {"rope_type": "linear", "rope_theta": THETA, "factor": 3.0},
            {"factor": 3.0, "rope_theta": THETA * 4 ** (16 / 14)},
        ),
        ("yarn", YARN, {"factor": 8.0, "original_max_position_embeddings": WINDOW // 2}),
        (
            "ntk",
            {"rope_type": "dynamic", "rope_theta": THETA, "factor": 2.0},
            {"rope_type": "default", "rope_theta": THETA * 4 ** (16 / 14)},
        ),
    ],
    ids=["pi-linear", "ntk-linear", "yarn-yarn", "ntk-dynamic"],
)
def test_what_a_model_has_already_is_scaled_further(method, own, changed):
    rope = Extension.of(method, config_of(rope_parameters=own), 2 * WINDOW).rope
    assert {name: rope[name] for name in changed} == pytest.approx(changed)
    assert rope["rope_type"] == changed.get("rope_type", own["rope_type"])


def test_a_base_that_would_move_while_keys_stay_is_held_still():
    own = {"rope_type": "dynamic", "rope_theta": THETA, "factor": 2.0}
    model = model_of(rope_parameters=own)
    extend_positions(model, Extension.of("self-extend", model.config, 4 * WINDOW))
    model.get_decoder().rotary_emb(torch.zeros(1, 1, 1), torch.tensor([[4 * WINDOW - 1]]))
    assert torch.allclose(angles(model), torch.tensor(OWN))


@pytest.mark.parametrize(
    "method,kind,options,error,words",
    [
        (
            "ntk",
            "llama",
            {"rope_parameters": LLAMA3},
            UsageError,
            "is of type llama3; take --extend self-extend",
        ),
        ("pi", "llama", {"rope_parameters": YARN}, UsageError, "is of type yarn"),
        ("yarn", "llama", {"rope_parameters": LLAMA3}, UsageError, "type default or dynamic or yarn"),
        ("longrope", "llama", {}, UsageError, "factors that were searched for this model"),
        ("ntk", "gpt2", {}, ModelError, "no rotary embedding that all layers share"),
        ("self-extend", "gemma3_text", {}, ModelError, "no rotary embedding that all layers share"),
        (
            "self-extend",
            "smollm3",
            {"num_hidden_layers": 4},
            ModelError,
            "some of its layers know no positions",
        ),
    ],
)
def test_what_does_not_suit_the_model_is_refused(method, kind, options, error, words):
    with pytest.raises(error, match=words):
        Extension.of(method, config_of(kind, **options), 2 * WINDOW)


@pytest.mark.parametrize("factors", [[1.0] * 7, [1.0] * 7 + [0.0], "1, 2", [1.0] * 7 + ["2"]])
def test_factors_that_do_not_fit_the_model_are_refused(factors):
    with pytest.raises(UsageError, match="8 numbers above 0"):
        Extension.of("longrope", config_of(), 128, {"factors": factors})


def test_a_model_that_pairs_neighbours_with_cosines_of_halves_is_refused():
    model = model_of("glm", head_dim=16)
    extension = Extension.of("self-extend", model.config, 2 * WINDOW)
    with pytest.raises(ModelError, match="can't be turned"):
        Reader(model, HeadSplit.exact(), capacity_tokens=2 * WINDOW, extension=extension)


def test_the_model_gets_its_own_embedding_back():
    model = model_of()
    own = model.get_decoder().rotary_emb
    extend_positions(model, None)
    assert model.get_decoder().rotary_emb is own
    for method in ("ntk", "yarn", "ntk"):
        extend_positions(model, Extension.of(method, model.config, 100))
        assert model.get_decoder().rotary_emb is not own
    extend_positions(model, Extension.of("self-extend", model.config, 100))
    assert model.get_decoder().rotary_emb is own


def test_the_loss_names_method_and_length():
    loss = Extension.of("self-extend", config_of(), 134).loss
    assert loss == (
        "positions extended to 2.1 times the model's window by Self-Extend: facts far apart may be missed"
    )
    assert "beyond 4 times its answers are often wrong" in Extension.of("ntk", config_of(), 257).loss


# Attention with grouped positions.


def rotate(rotation, tensor, positions):
    return rotation.turn(tensor, positions)


def grouped_reference(query, keys, values, rotation, near, group):
    """All relative positions, built in full. query, keys: [1, heads, length, head_dim], as they are before rotation."""
    length, heads = query.shape[2], query.shape[1]
    keys, values = (x.repeat_interleave(heads // x.shape[1], dim=1) for x in (keys, values))
    at = torch.arange(length)
    own = rotate(rotation, query, at) @ rotate(rotation, keys, at).mT
    far_queries = rotate(rotation, query, at // group + near - near // group)
    far = far_queries @ rotate(rotation, keys, at // group).mT
    distance = at[:, None] - at[None]
    scores = torch.where(distance < near, own, far) * HEAD_DIM**-0.5
    return scores.masked_fill(distance < 0, -math.inf).softmax(-1) @ values


def inputs(length, heads=4, kv_heads=2):
    torch.manual_seed(length)
    return (
        torch.randn(1, heads, length, HEAD_DIM),
        torch.randn(1, kv_heads, length, HEAD_DIM),
        torch.randn(1, kv_heads, length, HEAD_DIM),
    )


def read(buffer, query, keys, values, chunk):
    outputs = []
    for start in range(0, query.shape[2], chunk):
        part = (tensor[:, :, start : start + chunk] for tensor in (query, keys, values))
        outputs.append(attend_buffer(*part, buffer, HEAD_DIM**-0.5)[0])
    return torch.cat(outputs, dim=2)


def rotation_of(theta=THETA):
    return Rotation(torch.tensor([theta ** (-2 * pair / HEAD_DIM) for pair in range(PAIRS)]))


@pytest.mark.parametrize("chunk", [1, 7, 64, 1000])
@pytest.mark.parametrize(
    "length,near,group", [(211, 16, 4), (130, 1, 3), (97, 33, 8), (20, 33, 8), (640, 300, 2), (90, 10, 1)]
)
@pytest.mark.parametrize("heads", [2, 4], ids=["MHA", "GQA"])
def test_grouped_attention_is_that_of_all_relative_positions(length, near, group, chunk, heads):
    rotation, (query, keys, values) = rotation_of(), inputs(length, heads)
    wanted = grouped_reference(query, keys, values, rotation, near, group)
    at = torch.arange(length)
    buffer = GroupedBuffer(keys, values, length, Grouping(near, group), rotation)
    turned = rotate(rotation, query, at), rotate(rotation, keys, at), values
    assert torch.allclose(read(buffer, *turned, chunk), wanted, atol=2e-5)
    assert buffer.num_far == max(0, length - near) and buffer.seen_tokens == length


def test_groups_of_one_are_plain_attention():
    rotation, (query, keys, values) = rotation_of(), inputs(150)
    at = torch.arange(150)
    turned = rotate(rotation, query, at), rotate(rotation, keys, at), values
    grouped = read(GroupedBuffer(keys, values, 150, Grouping(20, 1), rotation), *turned, 40)
    assert torch.allclose(grouped, read(FullBuffer(keys, values, 150), *turned, 40), atol=2e-5)


@pytest.mark.parametrize("times", [1.05, 1.5, 2.1, 4.0, 11.0])
def test_grouped_positions_stay_within_the_trained_window(times):
    length = int(times * 8192)
    extension = Extension.of("self-extend", config_of(max_position_embeddings=8192), length)
    grouping = extension.grouping
    last = torch.tensor([length - 1])
    query = last + grouping.query_steps(last)
    assert grouping.near_tokens == 1024
    assert 0 < query.item() < 8192  # from the first token, at 0
    # The nearest token that is far stands about where it would without groups.
    nearest = last - grouping.near_tokens
    distance = query - (nearest + grouping.key_steps(nearest))
    assert abs(distance.item() - grouping.near_tokens) <= 1


@pytest.mark.parametrize("more", [1, 5, 40, 90])
def test_what_was_read_after_a_mark_is_forgotten_to_the_bit(more):
    rotation, (query, keys, values) = rotation_of(), inputs(200)

    def part(start, stop):
        return tuple(tensor[:, :, start:stop] for tensor in (query, keys, values))

    buffer = GroupedBuffer(keys, values, 200, Grouping(24, 4), rotation)
    read(buffer, *part(0, 100), 30)
    mark, before = buffer.mark(), buffer.held()[0].clone()
    read(buffer, *part(100, 100 + more), 30)
    buffer.rewind(mark)
    assert torch.equal(buffer.held()[0], before)
    assert mark[2].nbytes == buffer.mark_bytes
    fresh = GroupedBuffer(keys, values, 200, Grouping(24, 4), rotation)
    read(fresh, *part(0, 100), 30)
    assert torch.equal(read(buffer, *part(100, 160), 20), read(fresh, *part(100, 160), 20))


@pytest.mark.parametrize("chunk", [1, 7, 64])
@pytest.mark.parametrize("sinks,recent,reach", [(4, 20, 32), (1, 31, 32), (0, 20, 32), (4, 300, 400)])
def test_sinks_are_never_farther_away_than_the_trained_window(sinks, recent, reach, chunk):
    rotation, (query, keys, values) = rotation_of(), inputs(450)
    at = torch.arange(450)
    own = rotate(rotation, query, at) @ rotate(rotation, keys.repeat_interleave(2, 1), at).mT
    near = rotate(rotation, query, at.clamp(max=reach - 1))
    bounded = near @ rotate(rotation, keys.repeat_interleave(2, 1), at).mT
    distance = at[:, None] - at[None]
    recently = (distance >= 0) & (distance < recent)
    seen = recently | ((at[None] < sinks) & (distance >= 0))
    scores = torch.where(recently, own, bounded) * HEAD_DIM**-0.5
    # A window that reaches back to the sinks sees everything.
    wanted = scores.masked_fill(~seen, -math.inf).softmax(-1) @ values.repeat_interleave(2, 1)
    buffer = SinkWindowBuffer(keys, values, sinks, recent, (reach, rotation) if sinks else None)
    found = read(buffer, rotate(rotation, query, at), rotate(rotation, keys, at), values, chunk)
    assert torch.allclose(found, wanted, atol=2e-5)


# Whole models.


def logits(model, split, ids, chunk, extension):
    reader = Reader(model, split, capacity_tokens=len(ids) + 8, chunk_tokens=chunk, extension=extension)
    reader.prefill(ids[:-20])
    return reader.score(ids[-20:]), reader


@pytest.mark.parametrize("method", ["pi", "ntk", "yarn", "self-extend", "lm-infinite"])
@pytest.mark.parametrize("kind", ["llama", "phi", "qwen3"])
def test_chunks_make_no_difference(method, kind):
    model = model_of(kind)
    ids = torch.randint(3, 50, (210,), generator=torch.Generator().manual_seed(1)).tolist()
    extension = Extension.of(method, model.config, len(ids))
    kv_heads = ModelShape.from_config(model.config, 0, torch.float32).num_kv_heads
    split = HeadSplit.stream(2, kv_heads, 8, 40) if method == "lm-infinite" else HeadSplit.exact()
    whole, _ = logits(model, split, ids, 1000, extension)
    for chunk in (7, 64):
        assert torch.allclose(logits(model, split, ids, chunk, extension)[0], whole, atol=1e-3)
    plain, _ = logits(model, split, ids, 64, None)
    assert not torch.allclose(plain, whole, atol=0.1)


def test_heads_that_stream_beside_grouped_ones_stay_within_the_window():
    model = model_of()
    ids = list(range(3, 50)) * 5
    extension = Extension.of("self-extend", model.config, len(ids) + 8)
    split = HeadSplit((frozenset({0}), frozenset()), 4, 16, 500)
    _, reader = logits(model, split, ids, 32, extension)
    buffers = [buffer for _, buffer in reader.cache.groups()]
    assert [type(buffer) for buffer in buffers] == [GroupedBuffer, SinkWindowBuffer, GroupedBuffer]
    assert buffers[1].recent_size == WINDOW - 4


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_plan_counts_what_a_grouped_cache_and_its_marks_take(dtype):
    model = model_of().to(dtype)
    extension = Extension.of("self-extend", model.config, 300)
    shape = ModelShape.from_config(model.config, 0, dtype)
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=300, extension=extension)
    reader.prefill(list(range(3, 50)) * 6)
    sizes = shape, HeadSplit.exact(), 300, "model", None, extension
    assert sum(layer.capacity_bytes for layer in reader.cache.layers) == kv_bytes(*sizes)
    marks = [buffer.mark() for _, buffer in reader.cache.groups()]
    assert sum(mark[2].nbytes for mark in marks) == mark_bytes(*sizes)


def test_a_reading_without_extension_is_what_it_was():
    model = model_of()
    ids = list(range(3, 50)) * 3
    before, _ = logits(model, HeadSplit.exact(), ids, 50, None)
    logits(model, HeadSplit.exact(), ids, 50, Extension.of("ntk", model.config, 200))
    after, reader = logits(model, HeadSplit.exact(), ids, 50, None)
    assert torch.equal(before, after)
    assert all(type(buffer) is FullBuffer for _, buffer in reader.cache.groups())
