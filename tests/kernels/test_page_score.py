"""lcdoc.kernels.page_score: Triton against PyTorch in float64, and both against the keys themselves."""

import pytest
import torch
from lcdoc.kernels.page_score import naive

# Keys, KV heads, group, head_dim. So many KV heads that the greatest error says something about all of them.
SHAPES = [
    (1, 16, 1, 64),
    (63, 16, 3, 96),
    (64, 16, 7, 64),
    (111, 16, 4, 128),
    (111, 16, 8, 256),
    (2100, 2, 3, 96),
]
IDS = "K{0[0]}-KV{0[1]}-G{0[2]}-D{0[3]}".format


def parts(made, shape):
    num_keys, kv_heads, group, head_dim = shape
    keys = made(1, kv_heads, num_keys, head_dim, seed=1)
    return made(1, kv_heads * group, 1, head_dim), keys, *naive.block_bounds(keys)


def plain(query, least, most):
    """The formula as it stands, in the numbers' own precision."""
    own = query[0, :, 0].unflatten(0, (least.shape[0], -1))
    upper = own.relu() @ most.mT - (-own).relu() @ least.mT  # [kv_heads, group, blocks]
    return torch.stack([page.amax((1, 2)) for page in upper.split(naive.PAGE_BLOCKS, dim=2)], dim=1)


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_error_is_at_most_twice_that_of_pytorch(fused, made, shape):
    query, _, least, most = parts(made, shape)
    truth = plain(query.double(), least.double(), most.double())
    allowed = 2 * (plain(query, least, most) - truth).abs().max()
    for page_score in (fused("page_score").page_score, naive.page_score):
        found = page_score(query, least, most)
        assert found.dtype == torch.float32 and found.shape == (shape[1], -(-shape[0] // 64))
        assert (found - truth).abs().max() <= allowed


@pytest.mark.parametrize("shape", SHAPES, ids=IDS)
def test_no_key_of_a_page_has_a_greater_product(fused, made, shape):
    num_keys, kv_heads, group, _ = shape
    query, keys, least, most = parts(made, shape)
    products = query[0, :, 0].double().unflatten(0, (kv_heads, group)) @ keys[0].double().mT
    greatest = torch.stack([page.amax((1, 2)) for page in products.split(64, dim=2)], dim=1)
    for page_score in (fused("page_score").page_score, naive.page_score):
        slack = 1e-6 * greatest.abs().max()  # sums in float32
        assert (page_score(query, least, most) >= greatest - slack).all()
    for start in range(0, num_keys, 16):
        block, at = keys[0, :, start : start + 16], start // 16
        assert (block >= least[:, at, None]).all() and (block <= most[:, at, None]).all()
        assert (block == least[:, at, None]).any(1).all() and (block == most[:, at, None]).any(1).all()


def test_bounds_of_a_single_key_are_the_key():
    """Then the score is the product itself."""
    query, keys = torch.randn(1, 6, 1, 64), torch.randn(1, 2, 1, 64)
    expected = (query[0, :, 0].unflatten(0, (2, 3)) @ keys[0].mT).amax(1)
    torch.testing.assert_close(naive.page_score(query, *naive.block_bounds(keys)), expected)
