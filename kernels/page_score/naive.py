"""Bounds of blocks of keys, and scores of pages by them, in plain PyTorch: the truth that the kernel is held to."""

import torch
from torch.nn import functional as F

BLOCK_TOKENS = 16
PAGE_BLOCKS = 4


def block_bounds(keys: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the greatest value of each channel among every BLOCK_TOKENS keys; the last ones may be fewer.

    keys: [1, kv_heads, num_keys, head_dim]. Returns both as [kv_heads, blocks, head_dim] in the keys' dtype.
    """
    missing = -keys.shape[2] % BLOCK_TOKENS
    last = keys[0, :, -1:].expand(-1, missing, -1)  # no bound is changed by one key again
    whole = torch.cat((keys[0], last), dim=1) if missing else keys[0]
    blocks = whole.unflatten(1, (-1, BLOCK_TOKENS))
    return blocks.amin(2), blocks.amax(2)


def page_score(query: torch.Tensor, least: torch.Tensor, most: torch.Tensor) -> torch.Tensor:
    """No product of a query and a key of the page is greater (Quest, arXiv 2406.10774): each channel counts as the
    bound that its sign makes the greater product with. A page is PAGE_BLOCKS blocks, the last one may be fewer.

    query: [1, heads, 1, head_dim], of one token, with heads a multiple of kv_heads. least, most: as block_bounds has
    them. Returns [kv_heads, pages] in float32, the greatest of a page's blocks and of the KV head's queries.
    """
    own = query[0, :, 0].unflatten(0, (least.shape[0], -1)).float()  # [kv_heads, group, head_dim]
    scores = own.clamp(min=0) @ most.float().transpose(1, 2)  # [kv_heads, group, blocks]
    scores.baddbmm_(own.clamp(max=0), least.float().transpose(1, 2))
    blocks = F.pad(scores.amax(1), (0, -scores.shape[2] % PAGE_BLOCKS), value=float("-inf"))
    return blocks.unflatten(1, (-1, PAGE_BLOCKS)).amax(2)
