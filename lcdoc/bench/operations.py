"""lcdoc's kernels at work on random numbers, each with PyTorch's way to the same end and the work that both do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch.nn.functional import scaled_dot_product_attention

from lcdoc.engine.page_layout import PAGE_TOKENS
from lcdoc.engine.quantize import KEYS_AXIS, VALUES_AXIS, PageStore
from lcdoc.engine.sparse_prefill import QUERY_BLOCK_TOKENS, SAMPLE_STRIDE
from lcdoc.kernels.append_quantize import append_quantize
from lcdoc.kernels.append_quantize.naive import append_quantize as plain_append_quantize
from lcdoc.kernels.attend import attend
from lcdoc.kernels.block_score import block_score
from lcdoc.kernels.block_score.naive import block_score as plain_block_score
from lcdoc.kernels.block_sparse_prefill import attend_blocks
from lcdoc.kernels.compact import compact
from lcdoc.kernels.paged_decode import paged_decode
from lcdoc.kernels.pages import Pages
from lcdoc.kernels.sink_window_prefill import attend_sink_window

SINK_TOKENS, WINDOW_TOKENS = 64, 256
# Of all pages, those that block-sparse attention sees here.
DENSITY = 0.25
FLOPS, BYTES = "FLOP", "B"
STORED = {16: "bf16", 8: "int8", 4: "int4"}


@dataclass(frozen=True)
class Heads:
    """A model's attention heads, and how many tokens of it are read at once."""

    num_heads: int
    num_kv_heads: int
    head_dim: int
    chunk_tokens: int


@dataclass(frozen=True)
class Operation:
    """work: what one run does, in units of `unit`, FLOP or B (bytes read and written); reference_work: what PyTorch's
    way does to the same end, which `reference` names."""

    name: str
    run: Callable[[], object]
    work: float
    unit: str
    reference: str
    run_reference: Callable[[], object]
    reference_work: float


class Operations:
    """All of them, over num_tokens tokens that were read before."""

    def __init__(self, heads: Heads, num_tokens: int, device: torch.device, dtype: torch.dtype) -> None:
        self._heads, self._num_tokens, self._device, self._dtype = heads, num_tokens, device, dtype
        torch.manual_seed(0)
        self._keys, self._values = (self._random(heads.num_kv_heads, num_tokens) for _ in range(2))
        self._query = self._random(heads.num_heads, heads.chunk_tokens)
        self._scale = heads.head_dim**-0.5
        self._pair_flops = 4 * heads.num_heads * heads.head_dim  # of a query and a key, over all heads

    def _random(self, num_heads: int, length: int) -> torch.Tensor:
        shape = 1, num_heads, length, self._heads.head_dim
        return torch.randn(shape, device=self._device, dtype=self._dtype)

    def all(self) -> Iterator[Operation]:
        """Each is made when it is asked for, so that no two take memory at a time."""
        yield self.dense()
        yield self.sink_window()
        yield self.block_score()
        yield self.block_sparse()
        for bits in STORED:
            yield self.decode(bits)
        for bits in (8, 4):
            yield self.quantize(bits)
        yield self.compact()

    def _sdpa(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None = None
    ) -> Callable[[], object]:
        return lambda: scaled_dot_product_attention(query, keys, values, attn_mask=mask, enable_gqa=True)

    def dense(self) -> Operation:
        """A chunk's attention to everything before it."""
        pair = self._keys, self._values
        work = self._pair_flops * self._heads.chunk_tokens * self._num_tokens
        run = partial(attend, self._query, *pair, scale=self._scale)
        return Operation("attend", run, work, FLOPS, "SDPA", self._sdpa(self._query, *pair), work)

    def sink_window(self) -> Operation:
        """A chunk's attention to sinks and windows, where all of both were read before."""
        kv_heads, length = self._heads.num_kv_heads, WINDOW_TOKENS + self._heads.chunk_tokens
        run_pair = self._random(kv_heads, length), self._random(kv_heads, length)
        sinks = self._random(kv_heads, SINK_TOKENS), self._random(kv_heads, SINK_TOKENS)
        first_key = max(self._num_tokens - WINDOW_TOKENS, SINK_TOKENS)
        run = partial(
            attend_sink_window,
            self._query,
            sinks,
            run_pair,
            first_query=first_key + WINDOW_TOKENS,
            first_key=first_key,
            window=WINDOW_TOKENS,
            scale=self._scale,
        )
        pairs = self._heads.chunk_tokens * (SINK_TOKENS + WINDOW_TOKENS)
        at = WINDOW_TOKENS + torch.arange(self._heads.chunk_tokens, device=self._device)[:, None]
        columns = torch.arange(-SINK_TOKENS, length, device=self._device)
        mask = (columns < 0) | ((columns <= at) & (columns > at - WINDOW_TOKENS))
        keys, values = (torch.cat(pair, dim=2) for pair in zip(sinks, run_pair, strict=True))
        masked = self._sdpa(self._query, keys, values, mask)
        all_pairs = self._heads.chunk_tokens * (SINK_TOKENS + length)
        work, masked_work = self._pair_flops * pairs, self._pair_flops * all_pairs
        return Operation("sink_window_prefill", run, work, FLOPS, "SDPA, masked", masked, masked_work)

    def block_score(self) -> Operation:
        """What a chunk's blocks of queries look at."""
        pages = Pages.plain(self._keys, PAGE_TOKENS)
        near = self._keys[:, :, pages.codes.shape[2] * PAGE_TOKENS :]
        blocks = {"query_block": QUERY_BLOCK_TOKENS, "stride": SAMPLE_STRIDE, "scale": self._scale}
        sampled = self._heads.chunk_tokens // SAMPLE_STRIDE
        work = self._pair_flops / 2 * sampled * self._num_tokens  # scores, and no values
        run = partial(block_score, self._query, near, pages, **blocks)
        plain = partial(plain_block_score, self._query, near, pages, **blocks)
        return Operation("block_score", run, work, FLOPS, "PyTorch", plain, work)

    def block_sparse(self) -> Operation:
        """A chunk's attention to some of the whole pages that were read before."""
        rows = -(-self._heads.chunk_tokens // QUERY_BLOCK_TOKENS)
        pages = [Pages.plain(tensor, PAGE_TOKENS) for tensor in (self._keys, self._values)]
        keep = torch.rand(self._heads.num_heads, rows, pages[0].codes.shape[2], device=self._device) < DENSITY
        keep[..., 0] = keep[..., -1] = True
        run = partial(
            attend_blocks,
            self._query,
            *pages,
            keep,
            query_block=QUERY_BLOCK_TOKENS,
            scale=self._scale,
        )
        dense_work = self._pair_flops * self._heads.chunk_tokens * self._num_tokens
        work = dense_work * float(keep.float().mean())
        dense = self._sdpa(self._query, self._keys, self._values)
        return Operation("block_sparse_prefill", run, work, FLOPS, "SDPA, all pages", dense, dense_work)

    def decode(self, bits: int) -> Operation:
        """One query's attention to everything before it."""
        whole = self._num_tokens // PAGE_TOKENS * PAGE_TOKENS
        query = self._query[:, :, :1].contiguous()
        pair = self._keys[:, :, :whole], self._values[:, :, :whole]
        pages = [self._stored(tensor, axis, bits) for tensor, axis in zip(pair, (3, 4), strict=True)]
        stored = sum(store.nbytes(whole // PAGE_TOKENS) for store in pages)
        num_tokens = torch.full((self._heads.num_kv_heads,), whole, dtype=torch.int32, device=self._device)
        views = [store.view(0, whole // PAGE_TOKENS) for store in pages]
        run = partial(paged_decode, query, *views, num_tokens, scale=self._scale)
        plain_bytes = sum(tensor.nbytes for tensor in pair)
        return Operation(
            f"paged_decode {STORED[bits]}", run, stored, BYTES, "SDPA", self._sdpa(query, *pair), plain_bytes
        )

    def quantize(self, bits: int) -> Operation:
        """A chunk's keys into pages."""
        tokens = self._keys[:, :, : self._num_tokens // PAGE_TOKENS * PAGE_TOKENS]
        store = PageStore(tokens, KEYS_AXIS, bits, tokens.shape[2] // PAGE_TOKENS)
        view = store.view(0, store.capacity_pages)
        work = tokens.nbytes + store.nbytes(store.capacity_pages)
        run, plain = partial(append_quantize, tokens, view), partial(plain_append_quantize, tokens, view)
        return Operation(f"append_quantize {STORED[bits]}", run, work, BYTES, "PyTorch", plain, work)

    def compact(self) -> Operation:
        """Every other token moves up."""
        kept = torch.arange(1, self._num_tokens, 2, device=self._device).expand(self._heads.num_kv_heads, -1)
        tokens, index = self._keys.clone(), kept[0]
        work = 2 * kept.numel() * self._heads.head_dim * tokens.itemsize
        gather = partial(torch.index_select, tokens, 2, index)
        return Operation("compact", partial(compact, tokens, kept), work, BYTES, "a copy", gather, work)

    def _stored(self, tokens: torch.Tensor, axis: int, bits: int) -> PageStore:
        assert axis in (KEYS_AXIS, VALUES_AXIS)
        store = PageStore(tokens, axis, bits, tokens.shape[2] // PAGE_TOKENS)
        store.write(0, tokens)
        return store
