"""Keys or values in pages of fixed size at 16, 8 or 4 bits, as kernels see them."""

from typing import NamedTuple

import torch


class Pages(NamedTuple):
    """codes: [1, kv_heads, pages, page_size, head_dim] in a floating dtype at 16 bits, else uint8, where at 4 bits a
    byte holds channel i below and channel i + head_dim / 2 above. A number is code * scale + least. scales, least:
    float16 of codes' shape with head_dim channels, and 1 in place of page_size (a scale for each channel of a page:
    keys) or of head_dim (one for each token: values); of no meaning at 16 bits."""

    codes: torch.Tensor
    scales: torch.Tensor
    least: torch.Tensor
    bits: int

    @classmethod
    def plain(cls, tokens: torch.Tensor, page_size: int) -> "Pages":
        """Tokens [1, kv_heads, length, head_dim] of a floating dtype, as far as they make whole pages: a view."""
        whole = tokens.shape[2] // page_size
        codes = tokens[:, :, : whole * page_size].unflatten(2, (whole, page_size))
        return cls(codes, codes, codes, 16)

    @property
    def page_size(self) -> int:
        return self.codes.shape[3]

    @property
    def head_dim(self) -> int:
        return self.codes.shape[-1] * (2 if self.bits == 4 else 1)

    def holds(self, dtype: torch.dtype) -> bool:
        """Whether the codes are numbers of this dtype as they are."""
        return self.codes.dtype == dtype

    def chosen(self, head: int, pages: torch.Tensor | slice) -> "Pages":
        """One KV head's pages of these numbers, int64 [pages]: [1, 1, pages, ...]. A slice makes views."""
        parts = (self.codes, self.scales, self.least) if self.bits < 16 else (self.codes,) * 3
        codes, scales, least = (part[0, head][pages][None, None] for part in parts)
        return Pages(codes, scales, least, self.bits)

    def numbers(self, dtype: torch.dtype) -> torch.Tensor:
        """What the codes stand for, [1, kv_heads, pages, page_size, head_dim]; computed in float32 or what is wider."""
        if self.bits == 16:
            return self.codes.to(dtype)
        codes = self.codes
        if self.bits == 4:
            codes = torch.cat((codes & 15, codes >> 4), dim=-1)
        wide = torch.promote_types(dtype, torch.float32)
        return codes.to(wide).mul_(self.scales).add_(self.least).to(dtype)
