"""lcdoc's attention and cache under many architectures: exact reading equals stock transformers."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lcdoc.engine.attention import register
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.errors import ModelError

BASE = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
EXPERTS = {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
WINDOW = {"sliding_window": 16}
HEAD = {"head_dim": 16}
ARCHITECTURES = {
    "llama": {},
    "mistral": WINDOW,
    "ministral": WINDOW | HEAD,
    "mixtral": {"num_local_experts": 4},
    "qwen2": {},
    "qwen2-window": {**WINDOW, "use_sliding_window": True, "max_window_layers": 2},
    "qwen2_moe": EXPERTS,
    "qwen3": HEAD,
    "qwen3_moe": EXPERTS | HEAD,
    "gemma": HEAD,
    "gemma2": WINDOW | HEAD,
    "gemma3_text": WINDOW | HEAD,
    "phi": {},
    "phi3": {},
    "gpt_oss": {**WINDOW, **HEAD, "num_local_experts": 4, "num_experts_per_tok": 2},
    "smollm3": {},
    "granite": {},
    "cohere": {},
    "cohere2": WINDOW,
    "olmo2": {},
    "olmo3": WINDOW,
    "starcoder2": WINDOW,
    "exaone4": WINDOW,
    "glm": HEAD,
    "glm4": HEAD,
    "helium": HEAD,
    "nemotron": {},
    "gpt_neox": {},
    "gpt2": {},
    "arcee": {},
    "seed_oss": HEAD,
}
LENGTH = 75


def tiny_model(name):
    torch.manual_seed(0)
    options = BASE | ARCHITECTURES[name]
    if name in ("gpt2", "gpt_neox"):  # no grouped queries; the configuration would keep the number unused
        del options["num_key_value_heads"]
    config = AutoConfig.for_model(name.split("-")[0], **options)
    model = AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval().float()
    for weight in model.parameters():  # from_config's weights are so small that attention hardly matters
        torch.nn.init.normal_(weight, std=0.15) if weight.dim() > 1 else None
    return model


@pytest.fixture(scope="module", params=ARCHITECTURES)
def case(request):
    """A model with lcdoc's attention, token ids, and stock logits [length, vocab] in float32."""
    model = tiny_model(request.param)
    token_ids = torch.randint(3, 128, (LENGTH,), generator=torch.Generator().manual_seed(1)).tolist()
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([token_ids])).logits[0]
    model.set_attn_implementation(register())
    return model, token_ids, logits


def assert_equal(logits, stock):
    assert stock.abs().max() > 1e-2
    assert (logits - stock).abs().max() < 1e-3 * max(1.0, stock.abs().max().item())


@pytest.mark.parametrize("chunk_tokens", [LENGTH, 13, 1], ids=["whole", "chunks", "tokens"])
def test_exact_equals_stock(case, chunk_tokens):
    model, token_ids, stock = case
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=LENGTH, chunk_tokens=chunk_tokens)
    done = []
    reader.prefill(token_ids, done.append)
    assert_equal(reader.logits, stock[-1])
    assert done[-1] == LENGTH and reader.seen_tokens == LENGTH


def test_rewinding_changes_nothing(case):
    model, token_ids, stock = case
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=LENGTH + 20, chunk_tokens=16)
    reader.prefill(token_ids[:60])
    mark = reader.mark()
    reader.prefill([5] * 20)
    assert list(reader.decode(lambda logits: 7, (), 5)) == [7] * 5
    reader.rewind(mark)
    assert_equal(reader.logits, stock[59])
    reader.prefill(token_ids[60:])
    assert_equal(reader.logits, stock[-1])


def test_streaming_does_not_depend_on_chunks_and_drops_what_it_says(case):
    model, token_ids, stock = case
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    split = HeadSplit.stream(config.num_hidden_layers, heads, sink_size=4, recent_size=12)
    logits = []
    for chunk_tokens in (LENGTH, 13, 1):
        reader = Reader(model, split, capacity_tokens=LENGTH, chunk_tokens=chunk_tokens)
        reader.prefill(token_ids)
        logits.append(reader.logits)
    assert_equal(logits[1], logits[0])
    assert_equal(logits[2], logits[0])
    for group, buffer in reader.cache.groups():
        assert group.kind in ("streaming", "window")
        assert buffer.kept_tokens(0, LENGTH) == 16


def test_keys_changed_after_the_cache_saw_them_are_refused():
    torch.manual_seed(0)
    latent = {
        "q_lora_rank": 16,
        "kv_lora_rank": 16,
        "qk_rope_head_dim": 8,
        "qk_nope_head_dim": 8,
        "v_head_dim": 16,
    }
    experts = {"n_routed_experts": 8, "n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}
    shape = {"num_key_value_heads": 4, "first_k_dense_replace": 1, "moe_intermediate_size": 32}
    config = AutoConfig.for_model("deepseek_v3", **BASE | latent | experts | shape)
    model = AutoModelForCausalLM.from_config(config).eval()
    model.set_attn_implementation(register())
    reader = Reader(model, HeadSplit.exact(), capacity_tokens=8)
    with pytest.raises(ModelError, match="architecture is not supported"):
        reader.prefill([5, 6, 7])
