"""Keys or values in pages of 64 tokens at 16, 8 or 4 bits, with their exact size.

Integers are asymmetric, with a scale and a least value kept in float16: for keys per page and channel, since a key's
outliers stay in their channels, for values per token (KIVI, arXiv 2402.02750).
"""

import torch

from lcdoc.engine.page_layout import PAGE_TOKENS

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
        pages = tokens.unflatten(2, (-1, PAGE_TOKENS))
        span = slice(first_page, first_page + pages.shape[2])
        if self.bits == 16:
            self._codes[:, :, span] = pages
            return
        pages = pages.float()
        least, most = pages.amin(self.axis, keepdim=True), pages.amax(self.axis, keepdim=True)
        # The codes are made with the very scales that are stored, so that float16 costs no extra error.
        self._least[:, :, span] = least
        self._scales[:, :, span] = (most - least) / (2**self.bits - 1)
        scales = self._scales[:, :, span].float().clamp(min=torch.finfo(torch.float16).tiny)
        codes = ((pages - self._least[:, :, span].float()) / scales).round_().clamp_(0, 2**self.bits - 1)
        codes = codes.to(torch.uint8)
        if self.bits == 4:
            low, high = codes.chunk(2, dim=-1)
            codes = low | (high << 4)
        self._codes[:, :, span] = codes

    def read(self, first_page: int, stop_page: int, dtype: torch.dtype) -> torch.Tensor:
        """The pages first_page..stop_page-1 as [1, kv_heads, tokens, head_dim]: the only dequantised copy."""
        return self._dequantised(dtype, *self.pages(first_page, stop_page).values())

    def read_some(self, pages: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        """As `read`, of each head's own pages, [kv_heads, pages]."""
        parts = (self._codes, self._scales, self._least)
        chosen = (
            torch.stack([head.index_select(0, own) for head, own in zip(part[0], pages, strict=True)])[None]
            if part.shape[1]
            else part
            for part in parts
        )
        return self._dequantised(dtype, *chosen)

    def _dequantised(
        self, dtype: torch.dtype, codes: torch.Tensor, scales: torch.Tensor, least: torch.Tensor
    ) -> torch.Tensor:
        """Of pages stored as [1, kv_heads, pages, ...]."""
        if self.bits == 16:
            return codes.to(dtype).flatten(2, 3)
        if self.bits == 4:
            codes = torch.cat((codes & 15, codes >> 4), dim=-1)
        numbers = codes.to(torch.float32)
        numbers.mul_(scales).add_(least)
        return numbers.to(dtype).flatten(2, 3)

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
