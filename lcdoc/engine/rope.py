"""A model's rotary embedding, as far as it is needed to turn stored keys to other positions (arXiv 2104.09864)."""

import sys
from dataclasses import dataclass
from typing import Any

import torch

from lcdoc.errors import ModelError


@dataclass(frozen=True)
class Rotation:
    """frequencies: [rotary_dim / 2] in float32, the angle by which each pair of channels turns for one position.

    Channel i of the first half of the rotary channels is paired with channel i of the second half; channels beyond
    them are not turned. A factor on the embedding, as YaRN has one, is on the stored keys already.
    """

    frequencies: torch.Tensor

    @classmethod
    def of(cls, model: Any) -> "Rotation":
        """Raises ModelError for a model whose keys can't be turned this way: no rotary embedding or another for some
        layers, or channels paired in another order."""
        rotary = getattr(model.get_decoder(), "rotary_emb", None)
        frequencies = getattr(rotary, "inv_freq", None)
        if rotary is None or not isinstance(frequencies, torch.Tensor) or not _pairs_halves(rotary, model):
            raise ModelError(
                "this model's keys can't be turned to other positions, so that none can be closed up, grouped or "
                "joined; read less than its window at once, take --fusion parts, or choose another model"
            )
        return cls(frequencies.float())

    def turn(self, keys: torch.Tensor, steps: torch.Tensor) -> torch.Tensor:
        """keys: [1, heads, length, head_dim], rotated at their positions; steps: [length], how far each one moves.
        Returns the keys as if rotated at position + step."""
        half = len(self.frequencies)
        angles = steps[:, None].double() * self.frequencies.double().to(
            steps.device
        )  # [length, rotary_dim / 2]
        cosine, sine = angles.cos().float(), angles.sin().float()
        first, second, rest = keys.float().split((half, half, keys.shape[-1] - 2 * half), dim=-1)
        turned = (first * cosine - second * sine, second * cosine + first * sine, rest)
        return torch.cat(turned, dim=-1).to(keys.dtype)


def _pairs_halves(rotary: Any, model: Any) -> bool:
    """Whether the cosines of the two halves are the same, which they aren't where neighbours are paired."""
    example = torch.zeros(1, 3, 1, device=model.device, dtype=torch.float32)
    try:
        cosine, _ = rotary(example, torch.arange(3, device=model.device)[None])
    except TypeError:  # one that also wants to know the kind of layer
        return False
    first, second = cosine.chunk(2, dim=-1)
    return bool(torch.equal(first, second)) and _is_turned_in_halves(rotary, model)


def _is_turned_in_halves(rotary: Any, model: Any) -> bool:
    """Whether the model's own function turns as Rotation does: some pair neighbours, with cosines of halves. True where
    it has no such function that could be asked."""
    turn = getattr(sys.modules[type(model.get_decoder()).__module__], "apply_rotary_pos_emb", None)
    if turn is None:
        return True
    positions = torch.arange(3, device=model.device)
    cosine, sine = rotary(torch.zeros(1, 3, 1, device=model.device), positions[None])
    example = torch.linspace(-1.0, 1.0, cosine[0].numel(), device=model.device).view(1, 1, *cosine.shape[1:])
    try:
        theirs, _ = turn(example, example, cosine, sine)
    except TypeError:  # one that takes something else as well
        return True
    ours = Rotation(rotary.inv_freq.float()).turn(example, positions) * cosine[0, 0, 0]
    return bool(torch.allclose(ours, theirs, atol=1e-4))
