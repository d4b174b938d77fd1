"""A linear layer of four bits a weight, laid out as PyTorch's kernel for few rows on a CPU reads it."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lcdoc.models.rounded_linear import FEW_ROWS, RoundedLinear

GROUP_SIZE = 32
LEVELS = 16
MIDDLE = 8  # the level that stands for a group's offset

# Rows that the kernel takes together, by what the processor has; elsewhere there is no quick kernel.
TILES = {"AVX2": 32, "AVX512": 64}


class Levels(NamedTuple):
    """A weight is (level - MIDDLE) * step + offset. levels: uint8 [rows, inputs]; steps, offsets: [rows, groups], one
    of each for GROUP_SIZE inputs."""

    levels: Tensor
    steps: Tensor
    offsets: Tensor

    def weights(self) -> Tensor:
        """[rows, inputs] in float32."""
        levels = self.levels.unflatten(1, (-1, GROUP_SIZE)).float().sub_(MIDDLE)
        return levels.mul_(self.steps.float()[..., None]).add_(self.offsets.float()[..., None]).flatten(1)


def to_levels(weight: Tensor) -> Levels:
    """The nearest levels, from each group's lowest weight to its highest. weight: [rows, inputs], whole groups."""
    groups = weight.float().unflatten(1, (-1, GROUP_SIZE))
    least, most = groups.amin(dim=2), groups.amax(dim=2)
    steps = ((most - least) / (LEVELS - 1)).clamp_min(torch.finfo(torch.bfloat16).tiny).bfloat16()
    offsets = torch.where(most > least, least + MIDDLE * steps.float(), least).bfloat16()
    exact = (groups - offsets.float()[..., None]).div_(steps.float()[..., None]).add_(MIDDLE)
    levels = exact.round_().clamp_(0, LEVELS - 1).to(torch.uint8).flatten(1)
    return Levels(levels, steps, offsets)


class Int4Linear(RoundedLinear):
    """Groups of 32 inputs with 16 levels each; few rows on a CPU are multiplied in bfloat16, whatever the dtype.

    weight: uint8 [rows, inputs / 2] in tiles of row_step rows: of a tile first the bytes of its first input, byte i of
    which holds row i (low bits) and row row_step / 2 + i (high bits). scales: bfloat16 [groups, rows, 2], each group's
    step and offset. Rows are filled up to whole tiles and inputs to whole groups, with the last ones.
    """

    bits = 4
    row_step = TILES.get(torch.backends.cpu.get_cpu_capability(), 32)
    has_kernel = torch.backends.cpu.get_cpu_capability() in TILES
    scales: Tensor

    def pack(self, weight: Tensor) -> dict[str, Tensor]:
        if weight.is_meta:  # shapes alone, without the work
            rows = -(-self.out_features // self.row_step) * self.row_step
            groups = -(-self.in_features // GROUP_SIZE)
            return {
                "weight": weight.new_empty(rows, groups * GROUP_SIZE // 2, dtype=torch.uint8),
                "scales": weight.new_empty(groups, rows, 2, dtype=torch.bfloat16),
            }
        block = self._block_rows(weight.device)
        parts = [self.pack_levels(to_levels(_whole_groups(rows))) for rows in weight.split(block)]
        return {
            "weight": torch.cat([part["weight"] for part in parts]),
            "scales": torch.cat([part["scales"] for part in parts], dim=1),
        }

    def pack_levels(self, rounded: Levels) -> dict[str, Tensor]:
        """As `pack`, of weights that are rounded already."""
        levels = _fill(rounded.levels, self.row_step)
        low, high = levels.unflatten(0, (-1, 2, self.row_step // 2)).unbind(
            1
        )  # [tiles, row_step / 2, inputs]
        weight = (low | (high << 4)).transpose(1, 2).reshape(len(levels), -1)
        pairs = torch.stack((rounded.steps, rounded.offsets), dim=2).bfloat16()  # [rows, groups, 2]
        return {"weight": weight, "scales": _fill(pairs, self.row_step).transpose(0, 1).contiguous()}

    def unpack(self, rows: slice) -> Tensor:
        """rows: a whole number of tiles, but for the last."""
        start, stop, _ = rows.indices(len(self.weight))
        half = self.row_step // 2
        tiles = self.weight[start:stop].view(-1, self.scales.shape[0] * GROUP_SIZE, half).transpose(1, 2)
        levels = torch.stack((tiles & 15, tiles >> 4), dim=1).flatten(0, 2)
        steps, offsets = self.scales[:, start:stop].unbind(2)
        weights = Levels(levels, steps.T, offsets.T).weights()
        return weights[: self.out_features - start, : self.in_features].to(self.dtype)

    def forward(self, states: Tensor) -> Tensor:
        few = states.numel() <= FEW_ROWS * self.in_features
        if not (few and self.has_kernel and states.device.type == "cpu"):
            return super().forward(states)
        # Hardly more than the kernel's own call, which takes microseconds, as long as looking an attribute up does.
        parameters = self._parameters
        rows = states.reshape(-1, self.in_features).bfloat16()
        if self.in_features % GROUP_SIZE:
            rows = F.pad(rows, (0, -self.in_features % GROUP_SIZE))
        output = torch.ops.aten._weight_int4pack_mm_for_cpu(
            rows, parameters["weight"], GROUP_SIZE, parameters["scales"]
        )
        if self.out_features % self.row_step:
            output = output[:, : self.out_features]
        output = output.to(self.dtype).reshape(*states.shape[:-1], self.out_features)
        return output if self.bias is None else output + self.bias


def _whole_groups(weight: Tensor) -> Tensor:
    """Filled up with each row's last weight."""
    return F.pad(weight[None].float(), (0, -weight.shape[1] % GROUP_SIZE), mode="replicate")[0]


def _fill(rows: Tensor, step: int) -> Tensor:
    """A whole number of steps of rows, the last one repeated."""
    missing = -len(rows) % step
    return torch.cat((rows, rows[-1:].expand(missing, *rows.shape[1:]))) if missing else rows
