import weakref

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from lcdoc.engine.model_shape import KERNEL_BYTES, ModelShape
from lcdoc.engine.packed_linear import PackedLinear, pack_linears, packs

CPU = torch.device("cpu")
SHAPES = [(), (0,), (1,), (2, 0), (1, 1), (3, 5), (1, 63), (1, 513)]

multiplies_bfloat16 = pytest.mark.skipif(
    not packs(CPU, torch.bfloat16), reason="needs a CPU whose products in bfloat16 are oneDNN's"
)


def linear_of(inputs: int, outputs: int, bias: bool) -> nn.Linear:
    torch.manual_seed(inputs)
    return nn.Linear(inputs, outputs, bias=bias).bfloat16().requires_grad_(False)


def tiny_model(tied: bool) -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=97,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=tied,
    )
    return LlamaForCausalLM(config).bfloat16().eval().requires_grad_(False)


def test_only_bfloat16_on_a_cpu_is_packed() -> None:
    assert not packs(CPU, torch.float32)
    assert not packs(CPU, torch.float16)
    assert not packs(torch.device("cuda", 0), torch.bfloat16)


@multiplies_bfloat16
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize(("inputs", "outputs"), [(576, 192), (64, 512), (33, 7), (100, 3), (1, 1)])
def test_products_are_the_same_bit_for_bit(inputs: int, outputs: int, bias: bool) -> None:
    linear = linear_of(inputs, outputs, bias)
    packed = PackedLinear(linear.weight, linear.bias)
    assert torch.equal(packed.weight, linear.weight)
    for shape in SHAPES:
        states = torch.randn(*shape, inputs).bfloat16()
        assert packed(states).shape == linear(states).shape
        assert torch.equal(packed(states), linear(states))


@multiplies_bfloat16
def test_states_in_any_order() -> None:
    linear = linear_of(100, 3, True)
    states = torch.randn(5, 4, 200).bfloat16()[..., ::2]
    assert torch.equal(PackedLinear(linear.weight, linear.bias)(states), linear(states.contiguous()))


@multiplies_bfloat16
@pytest.mark.parametrize("tied", [False, True])
def test_a_packed_model_answers_as_before(tied: bool) -> None:
    model, packed = tiny_model(tied), tiny_model(tied)
    pack_linears(packed)
    assert not [module for module in packed.modules() if type(module) is nn.Linear]
    token_ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        assert torch.equal(packed(token_ids).logits, model(token_ids).logits)
        greedy = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}
        assert torch.equal(packed.generate(token_ids, **greedy), model.generate(token_ids, **greedy))


@multiplies_bfloat16
def test_what_the_embedding_shares_stays_there() -> None:
    model = tiny_model(tied=True)
    before = model.get_input_embeddings().weight.clone()
    pack_linears(model)
    assert torch.equal(model.get_input_embeddings().weight, before)
    assert torch.equal(model.get_output_embeddings().weight, before)


@multiplies_bfloat16
def test_weights_that_are_elsewhere_are_left_alone() -> None:
    model = nn.Sequential(linear_of(8, 8, False), linear_of(8, 8, False).to("meta"))
    pack_linears(model)
    assert [type(module) for module in model] == [PackedLinear, nn.Linear]


@multiplies_bfloat16
@pytest.mark.parametrize("tied", [False, True])
def test_the_weights_count_as_before_and_the_copy_of_a_shared_one_as_workspace(tied: bool) -> None:
    model = tiny_model(tied)
    held = [tensor.nbytes for tensor in (*model.parameters(), *model.buffers())]
    pack_linears(model)
    assert sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers())) == sum(held)
    shape = ModelShape.from_config(model.config, 0, torch.bfloat16, device=CPU)
    copied = model.get_output_embeddings().packed.nbytes if tied else 0
    assert shape.scratch_bytes == KERNEL_BYTES + copied


@multiplies_bfloat16
def test_a_packed_weight_is_given_up_even_while_its_layer_is_held() -> None:
    """As by hooks on layers whose neighbours are offloaded."""
    model = nn.Sequential(nn.Linear(96, 64, dtype=torch.bfloat16))
    layer = model[0]
    weight = weakref.ref(layer.weight)
    pack_linears(model)
    assert type(model[0]) is PackedLinear and model[0] is not layer
    assert weight() is None
