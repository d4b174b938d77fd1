"""From how many tokens on decoding by pages is quicker on a device."""

import torch

from lcdoc.engine.attention import attend_buffer
from lcdoc.engine.buffers import FullBuffer
from lcdoc.engine.page_selection import EVERY_STEPS, PageSelection
from lcdoc.engine.selected_pages import SelectedPages
from lcdoc.engine.sparse_rate import NEVER_TOKENS
from lcdoc.engine.stopwatch import measure_s

# Tried one after the other; where the last doesn't pay, it is never done.
HELD_TOKENS = (4096, 8192, 16384, 32768)


def measure_pages(
    device: torch.device, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float
) -> int:
    """query: [1, heads, 1, head_dim]; keys, values: [1, kv_heads, at least EVERY_STEPS, head_dim], of which there will
    be more."""
    return next(
        (held for held in HELD_TOKENS if _pays(device, held, query, keys, values, scale)), NEVER_TOKENS
    )


def _pays(
    device: torch.device,
    held_tokens: int,
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    scale: float,
) -> bool:
    """Whether so many steps as one selection serves take less time with it."""
    selection, capacity = PageSelection(), held_tokens + EVERY_STEPS
    buffer = FullBuffer(keys, values, capacity, SelectedPages(keys, values, capacity, selection))
    while buffer.seen_tokens < held_tokens:
        some = slice(held_tokens - buffer.seen_tokens)
        buffer.append(keys[:, :, some], values[:, :, some])
    mark = buffer.mark()

    def decode() -> None:
        for step in range(EVERY_STEPS):
            new = keys[:, :, step : step + 1], values[:, :, step : step + 1]
            attend_buffer(query, *new, buffer, scale)

    seconds = []
    for selection.active in (False, True):
        seconds.append(measure_s(device, decode, before=lambda: buffer.rewind(mark)))
    return seconds[1] < seconds[0]
