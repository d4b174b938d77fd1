"""Block-sparse reading of retrieval heads: a chunk attends to those pages of the past that matter to it.

A sample of the queries tells how each block of them spreads its attention (SampleAttention, arXiv 2406.15486); the
pages that hold most of it are attended to, and always the first tokens and the last ones before the chunk, which sees
all of itself. Only the document is read so: questions and answers see everything. Pages of fewer bits are read as they
are stored: of keys only a run is ever dequantised to choose, of keys and values only what was chosen to attend.

Measured on SmolLM2-135M at 4k of a novel: to hold 95% of the attention, the best blocks that could be chosen for each
head are 34% of all; a sample of one in 16 finds 33% that hold 95.4%. Mean keys (FlashPrefill, arXiv 2603.06199) and
antidiagonals (XAttention, arXiv 2503.16428) take 45% to 47% for 93%, and 73% in the worst layer.

The perplexity of the last 1,024 of 7,900 tokens, with all heads read so, at five places of two novels and a manual: on
average exact reading's, and within 0.3% of it at each, with a sample of one in 16, 32 or 64 alike. Where less than 85%
of the attention is held it rises: by 0.43% at 80% (three places of a novel).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.page_layout import PAGE_TOKENS, num_pages
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.parts import Part
from lcdoc.kernels.attend import attend, merge
from lcdoc.kernels.block_score import block_score
from lcdoc.kernels.block_sparse_prefill import attend_blocks
from lcdoc.kernels.block_sparse_prefill.naive import RUN_PAGES
from lcdoc.kernels.pages import Pages

QUERY_BLOCK_TOKENS = 128
# Always attended to, before the tokens that are in no page yet.
RECENT_PAGES = 2
# From so many pages on a row sees this many or one and a half times or twice as many, and so on, on CPUs: attention
# over them is made of products, each new shape of which takes code of its own. The next best pages come to those that
# it must see, or the least of these go, a tenth of them at most.
EVEN_PAGES, EVEN_SLACK = 8, 0.1

SAMPLE_STRIDE = 32

# Of the attention to the past as the sample has it, the share that the tokens seen must hold.
COVERAGE = 0.85

# Bytes a head, block of queries and page: its share, sorted, summed up, with indices, and in the list of what is kept.
RANKING_BYTES = 48

Pair = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True)
class SparseRate:
    """What pays on a device. from_tokens: of the past, below which attending to all of it is as quick. most_density:
    the share of it above which gathering costs more than it saves, from 0 to 1."""

    from_tokens: int
    most_density: float


class SparsePrefill:
    """Chooses and counts, for all layers of one cache."""

    def __init__(self, rates: Mapping[str, SparseRate], coverage: float = COVERAGE) -> None:
        """rates: by how keys and values are stored; what is missing is not read so. coverage: 1 sees everything."""
        self.rates, self.coverage = rates, coverage
        self.active = False  # whether the pass under way reads the document
        self._seen_pairs = self._all_pairs = 0

    @property
    def density(self) -> float:
        """Of all pairs of a query and a key before its chunk that retrieval heads met, the share attended to."""
        return self._seen_pairs / self._all_pairs if self._all_pairs else 1.0

    def attend(
        self, query: torch.Tensor, buffer: FullBuffer | PagedBuffer, scale: float, softcap: float | None
    ) -> Part | None:
        """A chunk's attention to some of what the buffer holds, all of which is before it; None where attending to all
        is as quick."""
        num_past, rate = buffer.seen_tokens, self.rates.get(buffer.kv_dtype)
        pairs = query.shape[1] * query.shape[2] * num_past
        self._all_pairs += pairs
        if rate is not None and num_past >= rate.from_tokens and buffer.num_pages:
            near = near_of(buffer)
            keep = self.choose(query, near[0], buffer.stored()[0], scale)
            far_tokens = float(keep.sum(-1).float().mean()) * PAGE_TOKENS
            density = (near[0].shape[2] + far_tokens) / num_past
            if density <= rate.most_density:
                self._seen_pairs += round(density * pairs)
                return attend_chosen(query, near, buffer.stored(), keep, scale, softcap)
        self._seen_pairs += pairs
        return None

    def choose(self, query: torch.Tensor, near_keys: torch.Tensor, keys: Pages, scale: float) -> torch.Tensor:
        """Which pages are seen, bool [heads, query_blocks, pages]. near_keys: those that always are."""
        shares = block_score(
            query, near_keys, keys, scale=scale, query_block=QUERY_BLOCK_TOKENS, stride=SAMPLE_STRIDE
        )
        return self.kept(shares)

    def kept(self, shares: torch.Tensor) -> torch.Tensor:
        """The pages that each row is to see. shares: of its attention, [heads, query_blocks, pages]; what their sum
        lacks of 1 goes to what is near."""
        near_share = 1 - shares.sum(-1, keepdim=True)
        ranked = shares.clone()
        ranked[..., -RECENT_PAGES:] += 1  # no share is more than 1
        pages = ranked.argsort(dim=-1, descending=True)
        ordered = shares.gather(-1, pages)
        # Held by what is near and all pages that come first.
        before = near_share + ordered.cumsum(-1) - ordered
        needed = (before < self.coverage) | (self.coverage == 1)
        needed[..., :RECENT_PAGES] = True
        count = needed.sum(-1, keepdim=True)
        if count.device.type == "cpu" and self.coverage < 1:
            counts, reaches = _even_counts(pages.shape[-1])
            count = counts[torch.bucketize(count, reaches)]
        rank = torch.arange(pages.shape[-1], device=pages.device)
        return torch.zeros_like(needed).scatter_(-1, pages, rank < count)


def _even_counts(num_pages: int) -> tuple[torch.Tensor, torch.Tensor]:
    """The numbers of pages that a row sees, rising, and the most that each stands for; the last no less than
    num_pages."""
    counts, count = list(range(EVEN_PAGES)), EVEN_PAGES
    while counts[-1] < num_pages:
        counts += [count, count // 2 * 3]
        count *= 2
    reaches = [int(count * (1 + EVEN_SLACK)) if count > EVEN_PAGES else count for count in counts]
    return torch.tensor(counts), torch.tensor(reaches)


def near_of(buffer: FullBuffer | PagedBuffer) -> Pair:
    """Keys and values that are in no page."""
    keys, values = (torch.cat(tensors, dim=2) for tensors in zip(*buffer.near(), strict=True))
    return keys, values


def attend_chosen(
    query: torch.Tensor,
    near: Pair,
    pages: tuple[Pages, Pages],
    keep: torch.Tensor,
    scale: float,
    softcap: float | None = None,
) -> Part:
    """Attention to what is near and the pages that are kept; near: keys and values, pages: of keys and of values."""
    far = attend_blocks(query, *pages, keep, query_block=QUERY_BLOCK_TOKENS, scale=scale, softcap=softcap)
    return merge([attend(query, *near, scale=scale, softcap=softcap), far])


def sparse_bytes(
    num_heads: int, num_kv_heads: int, head_dim: int, *, chunk_tokens: int, capacity_tokens: int
) -> int:
    """Most bytes that choosing and attending take besides what dense attention does: samples' attention to the pages
    by one KV head, all heads' ranking, and a run of one KV head's pages in float32, twice for keys and for values."""
    group, pages = num_heads // num_kv_heads, num_pages(capacity_tokens)
    blocks = -(-chunk_tokens // QUERY_BLOCK_TOKENS)
    samples = group * blocks * (QUERY_BLOCK_TOKENS // SAMPLE_STRIDE)
    run_tokens = min(RUN_PAGES, pages) * PAGE_TOKENS
    sampling = samples * (3 * pages + 3 * run_tokens) * 4
    return sampling + num_heads * blocks * pages * RANKING_BYTES + 4 * run_tokens * head_dim * 4
