"""Keys or values in pages of 64 tokens at 16, 8 or 4 bits, with their exact size.

Integers are asymmetric, with a scale and a least value kept in float16: for keys per page and channel, since a key's
outliers stay in their channels, for values per token (KIVI, arXiv 2402.02750).
"""

import torch

from lcdoc.engine.page_layout import PAGE_TOKENS
from lcdoc.kernels.append_quantize import append_quantize
from lcdoc.kernels.pages import Pages

KEYS_AXIS = 3  # of [1, kv_heads, pages, PAGE_TOKENS, head_dim]: one scale for a channel's 64 tokens
VALUES_AXIS = 4  # one scale for a token's channels


class PageStore:
    """Room for capacity_pages pages, allocated once and written in order."""

    def __init__(self, example: torch.Tensor, axis: int, bits: int, capacity_pages: int) -> None:
        """example: [1, kv_heads, length, head_dim], for its shape and device. axis: KEYS_AXIS or VALUES_AXIS.
        bits: 16 (bfloat16, no scales), 8 or 4 (two channels to a byte; head_dim must be even)."""
        heads, head_dim = example.shape[1], example.shape[-1]
        self.axis, self.bits, self.capacity_pages = axis, bits, capacity_pages
        code_shape = (1, heads, capacity_pages, PAGE_TOKENS, head_dim // 2 if bits == 4 else head_dim)
        dtype = torch.bfloat16 if bits == 16 else torch.uint8
        self._codes = torch.empty(code_shape, dtype=dtype, device=example.device)
        scale_shape = [1, heads, capacity_pages, PAGE_TOKENS, head_dim]
        scale_shape[axis] = 1
        if bits == 16:
            scale_shape[1] = 0
        self._scales = torch.empty(scale_shape, dtype=torch.float16, device=example.device)
        self._least = torch.empty_like(self._scales)

    def write(self, first_page: int, tokens: torch.Tensor) -> None:
        """tokens: [1, kv_heads, pages * PAGE_TOKENS, head_dim], quantised into the pages from first_page on."""
        append_quantize(tokens, self.view(first_page, first_page + tokens.shape[2] // PAGE_TOKENS))

    def read(self, first_page: int, stop_page: int, dtype: torch.dtype) -> torch.Tensor:
        """The pages first_page..stop_page-1 as [1, kv_heads, tokens, head_dim]: the only dequantised copy."""
        return self.view(first_page, stop_page).numbers(dtype).flatten(2, 3)

    def view(self, first_page: int, stop_page: int) -> Pages:
        """The pages first_page..stop_page-1 as kernels see them."""
        span = slice(first_page, stop_page)
        codes, scales, least = (tensor[:, :, span] for tensor in (self._codes, self._scales, self._least))
        return Pages(codes, scales, least, self.bits)

    def read_some(self, pages: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """As `read`, of each head's own pages, [kv_heads, pages]."""
        codes, scales, least = (
            torch.stack([head.index_select(0, own) for head, own in zip(part[0], pages, strict=True)])[None]
            if part.shape[1]
            else part
            for part in (self._codes, self._scales, self._least)
        )
        return Pages(codes, scales, least, self.bits).numbers(dtype).flatten(2, 3)

    def pages(self, first_page: int, stop_page: int) -> dict[str, torch.Tensor]:
        """Views of all that is stored of the pages first_page..stop_page-1."""
        span = slice(first_page, stop_page)
        return {
            "codes": self._codes[:, :, span],
            "scales": self._scales[:, :, span],
            "least": self._least[:, :, span],
        }

    def nbytes(self, num_pages: int) -> int:
        """Bytes that num_pages written pages take, scales included."""
        if self.capacity_pages == 0:
            return 0
        per_page = sum(t.nbytes for t in (self._codes, self._scales, self._least)) // self.capacity_pages
        return num_pages * per_page
