"""lcdoc.kernels.block_score and block_sparse_prefill: Triton against PyTorch in float32."""

import pytest
import torch
from lcdoc.kernels.block_score import naive as score_naive
from lcdoc.kernels.block_sparse_prefill import naive

from .conftest import DEVICE, assert_close_as_pytorch

# Queries, keys, KV heads, group, head_dim.
SHAPES = [
    (1, 16, 1, 1, 64),
    (63, 111, 1, 3, 96),
    (111, 63, 1, 4, 128),
    (33, 65, 1, 7, 64),
    (5, 64, 1, 8, 256),
]
BLOCKS = {"query_block": 32, "key_block": 16}


@pytest.mark.parametrize("shape", SHAPES, ids="Q{0[0]}-K{0[1]}-KV{0[2]}-G{0[3]}-D{0[4]}".format)
def test_attention_over_chosen_blocks(fused, made, shape):
    num_queries, num_keys, kv_heads, group, head_dim = shape
    query = made(1, kv_heads * group, num_queries, head_dim)
    keys, values = (
        made(1, kv_heads, num_keys, head_dim, seed=1),
        made(1, kv_heads, num_keys, head_dim, seed=2),
    )
    keep = torch.rand(kv_heads * group, -(-num_queries // 32), -(-num_keys // 16)) < 0.5
    keep[..., -1] = True
    keep = keep.to(DEVICE)
    rows, columns = torch.arange(num_queries) // 32, torch.arange(num_keys) // 16
    mask = keep[:, rows][:, :, columns]
    for attend_blocks in (fused("block_sparse_prefill").attend_blocks, naive.attend_blocks):
        found = attend_blocks(query, keys, values, keep, **BLOCKS, scale=0.125)
        assert found[0].dtype == query.dtype
        assert_close_as_pytorch(found, (query, keys, values), mask, 0.125)


@pytest.mark.parametrize("shape", SHAPES, ids="Q{0[0]}-K{0[1]}-KV{0[2]}-G{0[3]}-D{0[4]}".format)
def test_scores_of_blocks(fused, made, shape):
    num_queries, num_keys, kv_heads, group, head_dim = shape
    query = made(1, kv_heads * group, num_queries, head_dim)
    keys = made(1, kv_heads, num_keys, head_dim, seed=1)
    sizes = {**BLOCKS, "stride": 8, "scale": 0.125}
    truth = score_naive.block_score(query.float(), keys.float(), **sizes)
    found = fused("block_score").block_score(query, keys, **sizes)
    torch.testing.assert_close(found, truth, atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(found.sum(-1), torch.ones_like(found[..., 0]), atol=1e-3, rtol=0)


def test_scores_are_the_share_of_attention_where_every_query_is_asked():
    query, keys = torch.randn(1, 2, 64, 32), torch.randn(1, 1, 80, 32)
    weights = torch.softmax(query[0] @ keys[0].transpose(1, 2) * 0.3, -1)  # [2, 64, 80]
    expected = weights.unflatten(2, (5, 16)).sum(3).unflatten(1, (2, 32)).mean(2)
    found = score_naive.block_score(query, keys, scale=0.3, **BLOCKS, stride=1)
    torch.testing.assert_close(found, expected)
