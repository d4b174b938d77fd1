"""lcdoc.kernels.attend: every path against float64 PyTorch, and merging against attention over the union."""

import pytest
import torch
from lcdoc.kernels.attend import attend, fused, merge, naive, products, tiles

SHAPES = [(1, 1, 1, 64), (63, 1, 3, 64), (111, 3, 1, 96), (64, 2, 4, 128), (17, 1, 7, 256), (5, 2, 8, 64)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def make(num_queries, num_kv_heads, group, head_dim, num_keys, dtype, seed=0):
    generator = torch.Generator().manual_seed(seed)
    query = torch.randn(1, num_kv_heads * group, num_queries, head_dim, generator=generator)
    keys = torch.randn(1, num_kv_heads, num_keys, head_dim, generator=generator)
    values = torch.randn(1, num_kv_heads, num_keys, head_dim, generator=generator)
    return query.to(dtype), keys.to(dtype), values.to(dtype)


def sdpa(query, keys, values, causal):
    """PyTorch's own attention, from its plain implementation."""
    group = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        return torch.nn.functional.scaled_dot_product_attention(
            query, keys, values, is_causal=causal, scale=0.125
        )


def off(output, truth):
    return (output.double() - truth).norm()


def assert_as_close_as_pytorch(output, query, keys, values, causal):
    """Off from the float64 truth, where it is most, by at most twice what PyTorch's own attention is."""
    truth = sdpa(query.double(), keys.double(), values.double(), causal)
    own, theirs = (
        (found.double().cpu() - truth).abs().max() for found in (output, sdpa(query, keys, values, causal))
    )
    assert own <= 2 * theirs


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "Q{}-KV{}-G{}-D{}".format(*s))
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("path", [attend, naive.attend, fused.attend], ids=["picked", "naive", "fused"])
def test_error_is_at_most_twice_that_of_pytorch(shape, dtype, causal, path):
    num_keys = shape[0] if causal else shape[0] + 29
    query, keys, values = make(*shape, num_keys, dtype)
    output, lse = path(query, keys, values, scale=0.125, causal=causal)
    assert output.dtype == dtype
    assert_as_close_as_pytorch(output, query, keys, values, causal)
    assert lse.shape == query.shape[:-1] and lse.dtype == torch.float32


def test_naive_attention_in_blocks_equals_one_block(monkeypatch):
    query, keys, values = make(37, 2, 3, 64, 37, torch.float32)
    whole, whole_lse = naive.attend(query, keys, values, scale=0.125, causal=True, softcap=5.0)
    monkeypatch.setattr(naive, "MAX_SCORE_ELEMENTS", 6 * 37 * 4)
    blocks, blocks_lse = naive.attend(query, keys, values, scale=0.125, causal=True, softcap=5.0)
    torch.testing.assert_close(blocks, whole)
    torch.testing.assert_close(blocks_lse, whole_lse)


def test_softcap_bends_scores():
    query, keys, values = make(9, 1, 2, 64, 21, torch.float32)
    scores = torch.tanh(query @ keys.transpose(-1, -2) * 0.125 / 2.0) * 2.0
    expected = torch.softmax(scores, dim=-1) @ values
    output, lse = attend(query, keys, values, scale=0.125, softcap=2.0)
    torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lse, torch.logsumexp(scores, dim=-1), atol=1e-5, rtol=1e-5)


def test_values_may_have_a_head_dim_of_their_own():
    query, keys, values = make(9, 2, 2, 64, 21, torch.float32)
    values = values[..., :40]
    expected = torch.softmax(query @ keys.repeat_interleave(2, 1).transpose(-1, -2) * 0.125, -1)
    output, _ = attend(query, keys, values, scale=0.125)
    torch.testing.assert_close(output, expected @ values.repeat_interleave(2, 1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("cuts", [(), (1,), (10, 11, 90), (50,)], ids=str)
def test_merged_parts_equal_attention_over_all_keys(cuts, dtype):
    query, keys, values = make(33, 2, 3, 64, 100, dtype)
    edges = [0, *cuts, 100]
    parts = [
        attend(query, keys[:, :, a:b], values[:, :, a:b], scale=0.125)
        for a, b in zip(edges, edges[1:], strict=False)
    ]
    output, lse = merge(parts)
    assert_as_close_as_pytorch(output, query, keys, values, causal=False)
    whole_lse = naive.attend(query, keys, values, scale=0.125)[1]
    torch.testing.assert_close(lse, whole_lse, atol=1e-2, rtol=1e-3)


@pytest.mark.parametrize("threads", [2, 3, 16])
@pytest.mark.parametrize(
    ("dtype", "num_keys", "least"), [(torch.float32, 701, 8), (torch.bfloat16, 6003, 1024)]
)
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "Q{}-KV{}-G{}-D{}".format(*s))
def test_keys_cut_into_runs_for_several_cores(monkeypatch, shape, dtype, num_keys, least, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(fused, "LEAST_RUN_TOKENS", {dtype.itemsize: least})
    query, keys, values = make(*shape, num_keys, dtype)
    packed = query.reshape(1, keys.shape[1], -1, query.shape[-1])
    blocks = keys.shape[1] * -(-packed.shape[2] // fused.QUERY_BLOCK)
    assert (fused._num_runs(packed, keys) > 1) == (blocks < fused.BLOCKS_EACH[dtype.itemsize] * threads)
    output, lse = attend(query, keys, values, scale=0.125)
    assert output.dtype == dtype
    assert_as_close_as_pytorch(output, query, keys, values, causal=False)
    torch.testing.assert_close(lse, naive.attend(query, keys, values, scale=0.125)[1], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2, 3, 16])
@pytest.mark.parametrize("shape", [(1, 3), (1, 1), (1, 8), (40, 2), (3000, 3)], ids="Q{0[0]}-KV{0[1]}".format)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_core_has_as_many_runs(monkeypatch, shape, dtype, threads):
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    num_rows, kv_heads = shape
    query = torch.empty(1, kv_heads, num_rows, 64, dtype=dtype)
    keys = torch.empty(1, kv_heads, 65_536, 64, dtype=dtype)
    num_runs = fused._num_runs(query, keys)
    blocks, needed = kv_heads * -(-num_rows // fused.QUERY_BLOCK), fused.BLOCKS_EACH[dtype.itemsize] * threads
    if threads == 1 or blocks >= needed:
        assert num_runs == 1
    else:
        assert num_runs * blocks % threads == 0 and num_runs * blocks >= needed
    few_tokens = 2 * fused.LEAST_RUN_TOKENS[dtype.itemsize] - 100
    assert fused._num_runs(query, keys[:, :, :few_tokens]) <= 1


multiplies = pytest.mark.skipif(not products._cpu_multiplies(), reason="the CPU does not multiply bfloat16")


@multiplies
@pytest.mark.parametrize("num_keys", [1, 63, 111, 256, 5003])
@pytest.mark.parametrize(
    "shape", [shape for shape in SHAPES if shape[0] < 17], ids=lambda s: "Q{}-KV{}-G{}-D{}".format(*s)
)
def test_products_over_all_keys_at_once(shape, num_keys, monkeypatch):
    query, keys, values = make(*shape, num_keys + 40, torch.bfloat16)
    keys, values = keys[:, :, :num_keys], values[:, :, :num_keys, :40]  # as a cache holds them: heads apart
    truth = sdpa(query.double(), keys.double(), values.double(), False)
    theirs = off(sdpa(query, keys, values, False), truth)
    for at_once in (products.MOST_KEY_BYTES, 1):  # all heads, one by one
        monkeypatch.setattr(products, "MOST_KEY_BYTES", at_once)
        output, lse = products.attend(query, keys, values, scale=0.125)
        assert output.dtype == torch.bfloat16 and output.shape == truth.shape
        assert off(output, truth) <= 2 * theirs
        torch.testing.assert_close(lse, naive.attend(query, keys, values, scale=0.125)[1], atol=2e-6, rtol=0)


@multiplies
@pytest.mark.parametrize("sharpness", [0.3, 2.0, 8.0, 40.0])
@pytest.mark.parametrize(
    ("way", "shape"), [(products, (1, 3, 3, 64)), (tiles, (150, 2, 1, 64))], ids=["products", "tiles"]
)
def test_products_stay_close_where_a_few_keys_take_all(way, shape, sharpness):
    query, keys, values = make(*shape, 3001, torch.bfloat16)
    query *= sharpness
    truth = sdpa(query.double(), keys.double(), values.double(), False)
    output, lse = way.attend(query, keys, values, scale=0.125)
    assert off(output, truth) <= 2 * off(sdpa(query, keys, values, False), truth)
    expected = naive.attend(query, keys, values, scale=0.125)[1]
    torch.testing.assert_close(lse, expected, atol=1e-5, rtol=1e-6)


def test_products_are_for_few_queries_over_many_keys_in_bfloat16(monkeypatch):
    monkeypatch.setattr(products, "_cpu_multiplies", lambda: True)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)

    def picked(
        num_queries=1, heads=9, kv_heads=3, num_keys=8000, head_dim=64, dtype=torch.bfloat16, softcap=None
    ):
        query = torch.empty(1, heads, num_queries, head_dim, dtype=dtype, device="cpu")
        return products.supports(query, query.new_empty(1, kv_heads, num_keys, head_dim), softcap)

    assert picked() and picked(num_keys=3700) and picked(num_queries=5)
    assert not picked(num_keys=3600)  # 1,376 KB of keys for two cores
    assert picked(heads=3, kv_heads=1, num_keys=7500) and not picked(heads=3, kv_heads=1, num_keys=7400)
    assert not picked(num_queries=6)  # 18 rows a head
    assert not picked(dtype=torch.float32) and not picked(softcap=30.0)
    assert picked(num_keys=49_000) and not picked(num_keys=50_000)  # 6 MB a head
    monkeypatch.setattr(products, "_cpu_multiplies", lambda: False)
    assert not picked()


@multiplies
def test_decoding_over_many_keys_goes_through_products(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    query, keys, values = make(1, 3, 3, 64, 2501, torch.bfloat16)
    for found, expected in zip(
        attend(query, keys, values, scale=0.125),
        products.attend(query, keys, values, scale=0.125),
        strict=True,
    ):
        assert torch.equal(found, expected)


@multiplies
@pytest.mark.parametrize("num_keys", [1, 111, 1000])
@pytest.mark.parametrize("most", [(512, 1 << 20), (40, 9000)], ids=["whole", "cut"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "Q{}-KV{}-G{}-D{}".format(*s))
def test_tiles_of_many_queries(shape, num_keys, most, monkeypatch):
    monkeypatch.setattr(tiles, "LEAST_ROWS", 1)
    monkeypatch.setattr(tiles, "MOST_ROWS", most[0])
    monkeypatch.setattr(tiles, "MOST_SCORES", most[1])
    query, keys, values = make(*shape, num_keys + 40, torch.bfloat16)
    keys, values = keys[:, :, :num_keys], values[:, :, :num_keys, :40]  # as a cache holds them: heads apart
    truth = sdpa(query.double(), keys.double(), values.double(), False)
    real, num_scores = tiles.attend_tile, []

    def counted(queries, some_keys, *rest):
        num_scores.append(queries.shape[1] * len(some_keys))
        return real(queries, some_keys, *rest)

    monkeypatch.setattr(tiles, "attend_tile", counted)
    output, lse = tiles.attend(query, keys, values, scale=0.125)
    assert max(num_scores) <= most[1]
    assert sum(num_scores) == query.shape[1] * query.shape[2] * num_keys
    assert output.dtype == torch.bfloat16 and output.shape == truth.shape
    assert off(output, truth) <= 2 * off(sdpa(query, keys, values, False), truth)
    torch.testing.assert_close(lse, naive.attend(query, keys, values, scale=0.125)[1], atol=1e-5, rtol=0)


def test_tiles_are_for_many_queries_over_many_keys_in_bfloat16(monkeypatch):
    monkeypatch.setattr(products, "_cpu_multiplies", lambda: True)

    def picked(num_queries=1024, num_keys=512, dtype=torch.bfloat16, softcap=None, **more):
        query = torch.empty(1, 9, num_queries, 64, dtype=dtype, device="cpu")
        return tiles.supports(query, query.new_empty(1, 3, num_keys, 64), softcap, **more)

    assert picked() and not picked(num_keys=511)
    assert not picked(num_queries=42, num_keys=9000)  # 126 rows a head
    # Just above and below a million scores of all heads.
    assert picked(num_queries=43, num_keys=2710) and not picked(num_queries=43, num_keys=2709)
    assert picked(num_queries=43, num_keys=512, recurs=True) and not picked(num_keys=511, recurs=True)
    assert not picked(dtype=torch.float32) and not picked(softcap=30.0)
    monkeypatch.setattr(products, "_cpu_multiplies", lambda: False)
    assert not picked()


@multiplies
@pytest.mark.parametrize(
    ("shape", "num_keys", "how"),
    [
        ((64, 3, 3, 64), 1901, {}),
        ((150, 1, 1, 64), 700, {"recurs": True}),
        ((600, 1, 3, 64), 600, {"causal": True}),
    ],
    ids=["many keys", "a shape that recurs", "causal"],
)
def test_reading_goes_through_tiles(shape, num_keys, how):
    query, keys, values = make(*shape, num_keys, torch.bfloat16)
    causal = how.get("causal", False)
    for found, expected in zip(
        attend(query, keys, values, scale=0.125, **how),
        tiles.attend(query, keys, values, scale=0.125, causal=causal),
        strict=True,
    ):
        assert torch.equal(found, expected)


@multiplies
@pytest.mark.parametrize("length", [1, 63, 257, 1000])
@pytest.mark.parametrize("most", [1 << 20, 9000], ids=["whole", "cut"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "KV{1}-G{2}-D{3}".format(*s))
def test_causal_tiles(shape, length, most, monkeypatch):
    monkeypatch.setattr(tiles, "MOST_SCORES", most)
    query, keys, values = make(length, *shape[1:], length, torch.bfloat16)
    real, num_scores = tiles.attend_tile, []

    def counted(queries, some_keys, *rest):
        num_scores.append(queries.shape[:2].numel() * len(some_keys))
        return real(queries, some_keys, *rest)

    monkeypatch.setattr(tiles, "attend_tile", counted)
    output, lse = tiles.attend(query, keys, values, scale=0.125, causal=True)
    assert max(num_scores) <= max(most, query.shape[1] // keys.shape[1] * length)  # one query at the least
    assert sum(num_scores) < query.shape[:3].numel() * length or length <= tiles.CAUSAL_QUERIES
    assert_as_close_as_pytorch(output, query, keys, values, True)
    expected = naive.attend(query, keys, values, scale=0.125, causal=True)[1]
    torch.testing.assert_close(lse, expected, atol=1e-5, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "Q{}-KV{}-G{}-D{}".format(*s))
def test_cuda_path_against_float64(shape, dtype, causal):
    query, keys, values = make(*shape, shape[0] if causal else shape[0] + 29, dtype)
    on_gpu = [tensor.cuda() for tensor in (query, keys, values)]
    assert fused.supports(on_gpu[0], on_gpu[2], None)
    output, lse = attend(*on_gpu, scale=0.125, causal=causal)
    assert_as_close_as_pytorch(output, query, keys, values, causal)
    expected_lse = naive.attend(query, keys, values, scale=0.125, causal=causal)[1]
    torch.testing.assert_close(lse.cpu(), expected_lse, atol=2e-2, rtol=1e-2)
