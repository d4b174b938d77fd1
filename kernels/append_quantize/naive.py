"""Quantising into pages in plain PyTorch: the truth that the kernel is held to."""

import torch
from lcdoc.kernels.pages import Pages

Bounds = tuple[torch.Tensor, torch.Tensor]


def append_quantize(tokens: torch.Tensor, pages: Pages, bounds: Bounds | None = None) -> None:
    """Writes tokens over pages that are as many, whole: codes, scales and least numbers.

    tokens: [1, kv_heads, pages * page_size, head_dim]. A code is (number - least) / scale, rounded half to even, with
    the very scale and least number that are stored, so that float16 costs no extra error. bounds: least and largest
    number of each channel, for runs of tokens in a page, [1, kv_heads, pages, runs, head_dim]; None where nobody asks.
    """
    blocks = tokens.unflatten(2, (-1, pages.page_size))
    if bounds is not None:
        runs = blocks.unflatten(3, (bounds[0].shape[3], -1))
        bounds[0].copy_(runs.amin(4))
        bounds[1].copy_(runs.amax(4))
    if pages.bits == 16:
        pages.codes.copy_(blocks)
        return
    blocks, most_code = blocks.float(), 2**pages.bits - 1
    axis = 3 if pages.least.shape[3] == 1 else 4
    least, most = blocks.amin(axis, keepdim=True), blocks.amax(axis, keepdim=True)
    pages.least.copy_(least)
    pages.scales.copy_((most - least) / most_code)
    scales = pages.scales.float().clamp(min=torch.finfo(torch.float16).tiny)
    codes = ((blocks - pages.least.float()) / scales).round_().clamp_(0, most_code).to(torch.uint8)
    if pages.bits == 4:
        low, high = codes.chunk(2, dim=-1)
        codes = low | (high << 4)
    pages.codes.copy_(codes)
