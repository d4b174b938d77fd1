"""Linear layers whose weights are kept in fewer bits than the model computes in."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Weights of a layer that are back in the compute dtype at a time: near the caches of a CPU; few launches on a GPU.
UNPACKED_BYTES = {"cpu": 4 << 20, "cuda": 64 << 20}

# Up to so many rows torch's own int8 kernel is quicker than unpacking and multiplying; it reads beyond the weight
# where the inputs are no multiple of its vectors (torch 2.13).
FEW_ROWS = 16
PACKED_STEP = 32


class RoundedLinear(nn.Module):
    """Stands in for an nn.Linear of the same shape, dtype and bias; computes in that dtype.

    Its parameters are what `pack` makes of a weight, of which one is called `weight`. Rows of the weight are unpacked
    a block at a time, so that no layer is ever whole in the compute dtype.
    """

    bits: ClassVar[int]
    row_step: ClassVar[int] = 1  # rows that are unpacked together
    weight: Tensor

    def __init__(self, linear: nn.Linear) -> None:
        """linear: may be on the meta device, and then so are the parameters."""
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.dtype = linear.weight.dtype
        for name, tensor in self.pack(linear.weight.detach()).items():
            self.register_parameter(name, nn.Parameter(tensor, requires_grad=False))
        self.bias = linear.bias

    def pack(self, weight: Tensor) -> dict[str, Tensor]:
        """The parameters by name. weight: [out_features, in_features] in the compute dtype."""
        packed: dict[str, Tensor] = {}
        block = self._block_rows(weight.device)
        for start in range(0, self.out_features, block):
            rows = slice(start, start + block)
            for name, part in self._pack(weight[rows]).items():
                if name not in packed:
                    packed[name] = part.new_empty(self.out_features, *part.shape[1:])
                packed[name][rows] = part
        return packed

    def unpack(self, rows: slice) -> Tensor:
        """Those rows of the weight in the compute dtype, [rows, in_features]."""
        raise NotImplementedError

    def forward(self, states: Tensor) -> Tensor:
        """states: [..., in_features]. Returns [..., out_features]."""
        block = self._block_rows(states.device)
        if block >= self.out_features:
            return F.linear(states, self.unpack(slice(None)), self.bias)
        output = states.new_empty(*states.shape[:-1], self.out_features)
        for start in range(0, self.out_features, block):
            rows = slice(start, start + block)
            output[..., rows] = F.linear(states, self.unpack(rows))
        return output if self.bias is None else output.add_(self.bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bits={self.bits}"

    def _pack(self, rows: Tensor) -> dict[str, Tensor]:
        raise NotImplementedError

    def _block_rows(self, device: torch.device) -> int:
        row_bytes = self.in_features * self.dtype.itemsize
        rows = UNPACKED_BYTES.get(device.type, UNPACKED_BYTES["cpu"]) // row_bytes
        return max(1, rows // self.row_step) * self.row_step


class Bfloat16Linear(RoundedLinear):
    """weight: bfloat16 [out_features, in_features]."""

    bits = 16

    def unpack(self, rows: slice) -> Tensor:
        return self.weight[rows].to(self.dtype)

    def _pack(self, rows: Tensor) -> dict[str, Tensor]:
        return {"weight": rows.to(torch.bfloat16)}


class Int8Linear(RoundedLinear):
    """weight: int8 [out_features, in_features]; scales: [out_features], one step of a row's."""

    bits = 8
    scales: Tensor

    def unpack(self, rows: slice) -> Tensor:
        return self.weight[rows].to(self.dtype).mul_(self.scales[rows, None])

    def forward(self, states: Tensor) -> Tensor:
        rows = states.reshape(-1, self.in_features).contiguous()
        whole_steps = self.in_features % PACKED_STEP == 0
        if (
            len(rows) > FEW_ROWS
            or rows.device.type != "cpu"
            or self.dtype != torch.bfloat16
            or not whole_steps
        ):
            return super().forward(states)
        output = torch._weight_int8pack_mm(rows, self.weight, self.scales)
        output = output if self.bias is None else output.add_(self.bias)
        return output.view(*states.shape[:-1], self.out_features)

    def _pack(self, rows: Tensor) -> dict[str, Tensor]:
        exact = rows.float()
        steps = exact.abs().amax(dim=1) / 127
        scales = steps.clamp_min(torch.finfo(self.dtype).tiny).to(self.dtype)
        weight = (exact / scales.float()[:, None]).round_().clamp_(-127, 127).to(torch.int8)
        return {"weight": weight, "scales": scales}
