"""lcdoc.engine.budget: bytes by hand, the ladder's order, and agreement with the cache that is then allocated."""

import weakref
from itertools import pairwise

import pytest
import torch
from transformers import AutoConfig, LlamaConfig, LlamaForCausalLM

from lcdoc.engine import model_shape
from lcdoc.engine.attention import register
from lcdoc.engine.budget import MIN_CHUNK_TOKENS, Limits, kv_bytes, ladder, mark_bytes, workspace_bytes
from lcdoc.engine.eviction import POLICIES, Eviction
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import KERNEL_BYTES, ModelShape
from lcdoc.engine.profiles import HeadProfile
from lcdoc.engine.reader import Reader
from lcdoc.models import num_parameters

LLAMA_3_8B = LlamaConfig(
    hidden_size=4096,
    intermediate_size=14_336,
    num_hidden_layers=32,
    num_attention_heads=32,
    num_key_value_heads=8,
    vocab_size=128_256,
    max_position_embeddings=1 << 20,
)


def shape_of(config, dtype=torch.bfloat16):
    return ModelShape.from_config(config, num_parameters(config) * dtype.itemsize, dtype)


def test_llama_3_8b_at_a_million_tokens_by_hand():
    shape = shape_of(LLAMA_3_8B)
    assert shape.weights_bytes == 8_030_261_248 * 2
    tokens = 1 << 20
    assert kv_bytes(shape, HeadSplit.exact(), tokens, "model") == 32 * 8 * 2 * 128 * 2 * tokens  # 128 GiB
    half = HeadSplit((frozenset(range(4)),) * 32, 64, 256)
    full, ring = 32 * 4 * 2 * 128 * 2 * tokens, 32 * 4 * 2 * 128 * 2 * 320
    assert kv_bytes(shape, half, tokens, "model") == full + ring
    # 4 bits: a page of 64 tokens has 64 x 64 bytes of codes; keys have 128 scales and least values of 2 bytes a
    # page, values 64. Sinks (64), the recent window (128) and a page being filled (64) stay in 16 bits.
    pages = (tokens - 64 - 128) // 64
    page = 2 * 64 * 64 + (128 + 64) * 2 * 2
    assert kv_bytes(shape, HeadSplit.exact(), tokens, "int4") == 32 * 8 * (pages * page + 2 * 128 * 2 * 256)


@pytest.mark.parametrize(("tied", "packs", "times"), [(False, False, 1), (False, True, 0), (True, True, 1)])
def test_a_cpu_in_16_bits_takes_the_output_layer_once_more(
    monkeypatch: pytest.MonkeyPatch, tied: bool, packs: bool, times: int
):
    """Packed layers are laid out once, and only a weight that the embedding shares is there twice."""

    def workspace(device: str, dtype: torch.dtype) -> int:
        shape = ModelShape.from_config(config, 0, dtype, device=torch.device(device))
        return workspace_bytes(shape, 512)

    monkeypatch.setattr(model_shape, "packs", lambda device, dtype: packs)
    config = LlamaConfig(**LLAMA_3_8B.to_dict() | {"tie_word_embeddings": tied})
    more = workspace("cpu", torch.bfloat16) - workspace("cuda", torch.bfloat16)
    assert more == times * 128_256 * 4096 * 2 + KERNEL_BYTES
    assert workspace("cpu", torch.float32) == workspace("cuda", torch.float32)


def test_as_many_heads_stream_as_the_budget_needs_and_none_that_retrieves():
    shape = shape_of(LLAMA_3_8B)
    gates = tuple(tuple((layer * 8 + head) / 256 for head in range(8)) for layer in range(32))
    profile = HeadProfile("llama-3-8b", gates, 64, 256, "made up")
    rungs = list(
        ladder(
            shape, capacity_tokens=1 << 20, chunk_tokens=2048, base_bytes=0, limits=Limits(), profile=profile
        )
    )
    fitting = [rung for rung in rungs if rung.peak_bytes <= 100e9]
    assert 0 < fitting[0].split.num_streaming_heads < 128
    # Half of the gates are below 0.5; the other heads keep everything, in fewer bits.
    assert rungs[-3].name == "128 streaming heads"
    assert [rung.name for rung in rungs[-2:]] == ["int8 KV", "int4 KV"]
    assert all(rung.split == rungs[-3].split for rung in rungs[-2:])
    assert fitting[0].peak_bytes == (
        shape.weights_bytes
        + fitting[0].kv_bytes
        + workspace_bytes(shape, fitting[0].chunk_tokens)
        # A mark copies each streaming head's 64 sinks and 256 recent tokens: keys and values of 128 channels.
        + fitting[0].split.num_streaming_heads * 2 * 128 * 2 * (64 + 256)
    )
    assert rungs[0].peak_bytes == (
        shape.weights_bytes + rungs[0].kv_bytes + workspace_bytes(shape, rungs[0].chunk_tokens)
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rungs_need_ever_less_and_lossless_ones_come_first(dtype):
    shape = shape_of(LLAMA_3_8B, dtype)
    options = {"capacity_tokens": 100_000, "chunk_tokens": 1024, "base_bytes": 10}
    rungs = list(ladder(shape, **options, limits=Limits()))
    assert all(later.peak_bytes < earlier.peak_bytes for earlier, later in pairwise(rungs))
    assert rungs[0].name == "exact" and not rungs[0].loss
    lossy = [bool(rung.loss) for rung in rungs]
    assert lossy == sorted(lossy)
    kept = ["bfloat16", "int8", "int4"] if dtype == torch.float32 else ["int8", "int4"]
    assert [rung.kv_dtype for rung in rungs if rung.loss] == kept
    assert min(rung.chunk_tokens for rung in rungs) == MIN_CHUNK_TOKENS


def test_what_the_user_fixed_is_left_alone():
    shape = shape_of(LLAMA_3_8B, torch.float32)
    options = {"capacity_tokens": 1000, "chunk_tokens": 512, "base_bytes": 0}
    exact = list(ladder(shape, **options, limits=Limits(HeadSplit.exact(), "model", exact=True)))
    assert {rung.kv_dtype for rung in exact} == {"model"} and not any(rung.loss for rung in exact)
    fixed = list(ladder(shape, **options, limits=Limits(kv_dtype="int8")))
    assert {rung.kv_dtype for rung in fixed} == {"int8"} and all("8 bits" in rung.loss for rung in fixed)
    stream = HeadSplit.stream(32, 8, 4, 60)
    assert all(rung.split == stream for rung in ladder(shape, **options, limits=Limits(split=stream)))


TINY = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 4}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8}


@pytest.mark.parametrize("kv_dtype", ["model", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("name", ["llama", "mistral", "gemma2", "gemma3_text", "qwen2"])
@pytest.mark.parametrize("streaming", [0, 3, 8], ids=lambda n: f"{n}-streaming")
def test_the_cache_takes_exactly_what_was_planned(name, kv_dtype, streaming):
    window = {} if name in ("llama", "qwen2") else {"sliding_window": 32}
    tokens = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    config = AutoConfig.for_model(name, **TINY, **HEADS, **window, **tokens)
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config).eval()
    model.set_attn_implementation(register())
    gates = tuple((0.1 * layer, 0.1 * layer + 0.05) for layer in range(4))
    split = HeadProfile(name, gates, 4, 12, "made up").streaming(streaming)
    reader = Reader(model, split, capacity_tokens=400, chunk_tokens=100, kv_dtype=kv_dtype)
    reader.prefill([3] * 300)
    allocated = sum(buffer.capacity_bytes for _, buffer in reader.cache.groups())
    assert allocated == kv_bytes(shape_of(config, torch.float32), split, 400, kv_dtype)
    assert sum(len(heads) for heads in split.streaming) == streaming
    assert cloned_bytes(reader) == mark_bytes(shape_of(config, torch.float32), split, 400, kv_dtype)


def cloned_bytes(reader):
    """Of all tensors that a mark of the cache is made of; none of them is the cache's own."""
    held = {
        id(value)
        for _, buffer in reader.cache.groups()
        for value in vars(buffer).values()
        if isinstance(value, torch.Tensor)
    }

    def tensors(part):
        if isinstance(part, torch.Tensor):
            yield part
        elif isinstance(part, list | tuple):
            for inner in part:
                yield from tensors(inner)

    found = list(tensors(reader.cache.mark()))
    assert not held & set(map(id, found))
    return sum(tensor.nbytes for tensor in found)


@pytest.mark.parametrize("streaming", [0, 3], ids=lambda n: f"{n}-streaming")
@pytest.mark.parametrize(("policy", "marks"), [("question", 2), ("snapkv", 1)])
def test_the_marks_of_an_evicting_reading_are_those_that_were_planned(policy, marks, streaming):
    torch.manual_seed(0)
    config = LlamaConfig(**TINY, **HEADS)
    model = LlamaForCausalLM(config).eval()
    model.set_attn_implementation(register())
    gates = tuple((0.1 * layer, 0.1 * layer + 0.05) for layer in range(4))
    split = HeadProfile("tiny", gates, 4, 12, "made up").streaming(streaming)
    eviction = Eviction(POLICIES[policy], keep_tokens=150, tail_tokens=120)
    reader = Reader(model, split, capacity_tokens=400, chunk_tokens=100, eviction=eviction)
    alive, most = [], []

    def mark(make=reader.cache.mark):
        made = make()
        parts = (part for layer in made[1] for of in layer for part in of)
        alive.extend(weakref.ref(part) for part in parts if isinstance(part, torch.Tensor))
        most.append(sum(tensor.nbytes for ref in alive if (tensor := ref()) is not None))
        return made

    reader.cache.mark = mark
    reader.read([3] * 300, questions=[[5, 6, 7]])
    assert max(most) == mark_bytes(shape_of(config, torch.float32), split, 400, "model", eviction)
    assert max(most) == marks * streaming * 2 * 8 * 4 * (4 + 12)


def test_parameters_are_counted_without_weights_and_shared_ones_once():
    config = LlamaConfig(**TINY, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=True)
    real = LlamaForCausalLM(config)
    assert num_parameters(config) == sum(weight.numel() for weight in real.parameters())
