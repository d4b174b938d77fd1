"""Linear layers in bfloat16 whose weights are laid out as products on a CPU read them."""

from typing import Any

import torch
from torch import Tensor, nn


class PackedLinear(nn.Module):
    """Stands in for an nn.Linear in bfloat16, with the same results bit for bit. Only for reading: no gradients.

    nn.Linear keeps its weight row by row, and oneDNN lays it out anew for each product. With few rows that takes longer
    than the product: SmolLM2's output layer 7.7 ms for one row, instead of 1.7, its others together 14 instead of 7
    (torch 2.13, one core). Here it is laid out once.
    """

    packed: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None = None, *, is_copy: bool = False) -> None:
        """weight: [out_features, in_features]; bias: [out_features]. is_copy: whether the weight stays where it was,
        too, so that this one is not among the model's weights but something to work with."""
        super().__init__()
        self.out_features, self.in_features = weight.shape
        # A tensor of oneDNN's own layout: nothing but its products can be computed with it.
        packed = torch.ops.mkldnn._reorder_linear_weight(weight.detach())
        if is_copy:
            self.packed = packed
        else:
            self.register_buffer("packed", packed, persistent=False)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias, requires_grad=False))

    @property
    def weight(self) -> Tensor:
        """[out_features, in_features], a copy made anew each time."""
        return self.packed.to_dense()

    def forward(self, states: Tensor) -> Tensor:
        """states: [..., in_features]. Returns [..., out_features]."""
        return torch.ops.mkldnn._linear_pointwise(states, self.packed, self.bias, "none", [], "")

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}"


def packs(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether weights of that kind are packed: elsewhere products read them as they lie."""
    supported = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return device.type == "cpu" and dtype == torch.bfloat16 and supported


def pack_linears(model: nn.Module) -> None:
    """Every nn.Linear whose weight is in memory becomes a PackedLinear, one after the other, each weight given up as
    soon as it is packed. One that is an embedding's too is then there twice."""
    embeddings = [module.weight for module in model.modules() if isinstance(module, nn.Embedding)]
    paths = [path for path, module in model.named_modules() if type(module) is nn.Linear]
    for path in paths:
        linear: Any = model.get_submodule(path)
        if not linear.weight.is_meta:
            is_copy = any(linear.weight is table for table in embeddings)
            model.set_submodule(path, PackedLinear(linear.weight, linear.bias, is_copy=is_copy))
            # accelerate's hooks make a cycle of the layer, which would keep its weight for a while.
            linear.weight = None
