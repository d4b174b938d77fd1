"""lcdoc.kernels.compact: in place what PyTorch does through a copy."""

import pytest
import torch
from lcdoc.kernels.compact import naive

from .conftest import DEVICE

# Tokens, kept, KV heads, head_dim.
CASES = [
    (1, 1, 1, 64),
    (111, 0, 2, 64),
    (63, 63, 1, 96),
    (111, 64, 3, 128),
    (300, 200, 2, 96),
    (130, 65, 1, 256),
]


@pytest.mark.parametrize("case", CASES, ids="T{0[0]}-kept{0[1]}-KV{0[2]}-D{0[3]}".format)
def test_what_is_kept_moves_up(fused, made, case):
    length, num_kept, kv_heads, head_dim = case
    tokens = made(1, kv_heads, length, head_dim)
    generator = torch.Generator().manual_seed(1)
    rows = [torch.randperm(length, generator=generator)[:num_kept].sort().values for _ in range(kv_heads)]
    kept = torch.stack(rows).to(DEVICE)
    expected = torch.stack([tokens[0, head, row] for head, row in enumerate(kept)])
    for compact in (fused("compact").compact, naive.compact):
        own = tokens.clone()
        stayed = compact(own, kept)
        assert torch.equal(stayed[0], expected)
        assert stayed.untyped_storage().data_ptr() == own.untyped_storage().data_ptr()


def test_heads_that_lie_between_others_move_up_alone(fused, made):
    """As they do where tokens are stored with all heads side by side."""
    tokens = made(1, 100, 4, 64).transpose(1, 2)
    before = tokens.clone()
    kept = torch.arange(1, 100, 2, device=DEVICE).expand(2, -1)
    fused("compact").compact(tokens[:, 1:3], kept)
    assert torch.equal(tokens[:, 1:3, :50], before[:, 1:3, 1::2])
    assert torch.equal(tokens[:, [0, 3]], before[:, [0, 3]])
