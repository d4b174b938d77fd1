"""A reading too long to be measured whole: some of its chunks, of some layers, and what these come to."""

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from statistics import median
from typing import Any

import torch

from lcdoc.bench.fill import fill
from lcdoc.bench.speed import random_ids
from lcdoc.bench.timing import take_turns
from lcdoc.engine.reader import Mark, Reader
from lcdoc.engine.sparse_prefill import RECENT_PAGES, SparsePrefill, SparseRate

# Where chunks are read, as shares of the text.
PLACES = (0.0, 0.25, 0.5, 0.75, 1.0)
REPEATS = 2

# Of the pages, those that block-sparse reading sees here.
DENSITY = 0.25


class BestPages(SparsePrefill):
    """Random weights spread their attention evenly, and coverage would choose nearly all: a fixed share of the pages,
    the best ones, is chosen in its place, at the same cost."""

    def __init__(self) -> None:
        super().__init__(dict.fromkeys(("model", "int8", "int4"), SparseRate(1, 1.0)))

    def kept(self, shares: torch.Tensor) -> torch.Tensor:
        best = shares.topk(math.ceil(DENSITY * shares.shape[-1]), dim=-1, sorted=False).indices
        keep = torch.zeros_like(shares, dtype=torch.bool).scatter_(-1, best, True)
        keep[..., -RECENT_PAGES:] = True
        return keep


@contextmanager
def first_layers(model: Any, count: int) -> Iterator[None]:
    """While it is open the model has its first layers alone."""
    decoder, config = model.get_decoder(), model.config.get_text_config()
    layers, num_layers = decoder.layers, config.num_hidden_layers
    decoder.layers, config.num_hidden_layers = layers[:count], count
    try:
        yield
    finally:
        decoder.layers, config.num_hidden_layers = layers, num_layers


@torch.inference_mode()
def measure_sample(
    reader: Reader, length: int, num_layers: int, check: Callable[[], None], found: dict[str, Any]
) -> None:
    """Seconds of single chunks of a reading of so many tokens, and of all of it if those between take as long as a line
    between their neighbours says, and each of num_layers as long as those that the reader's model has.

    reader: fresh, with room for them; what stands before a chunk is made up. check: called after each chunk; may raise.
    """
    model, chunk = reader.model, reader.chunk_tokens
    layers_run = model.config.get_text_config().num_hidden_layers
    chunks = -(-length // chunk)
    starts = [round(place * (chunks - 1)) * chunk for place in PLACES]
    ids = random_ids(model, chunk)
    seconds: list[float] = []
    reader.prefill(ids[:1])  # buffers are made
    for start in starts:
        fill(reader, max(0, start - reader.seen_tokens))
        mark = reader.mark()
        read = partial(_read_chunk, reader, mark, ids)
        seconds.append(median(take_turns(model.device, {"": read}, REPEATS)[""]))
        reader.rewind(mark)
        found |= {"past_tokens": starts[: len(seconds)], "chunk_s": list(seconds)}
        check()
    spans = pairwise(zip(starts, seconds, strict=True))
    area = sum((stop - start) * (first + last) / 2 for (start, first), (stop, last) in spans)
    whole_s = (area / chunk + (seconds[0] + seconds[-1]) / 2) * num_layers / layers_run
    found |= {
        "chunk_tokens": chunk,
        "layers_run": layers_run,
        "layers": num_layers,
        "density": reader.cache.sparse.density if reader.cache.sparse is not None else 1.0,
        "kv_bytes": reader.cache.nbytes,
        "extrapolated_s": whole_s,
        "extrapolation": f"{len(starts)} chunks of {layers_run} of {num_layers} layers were run, after keys and values "
        f"that are made up; those between count as a line between their neighbours, and other layers as these",
    }


def _read_chunk(reader: Reader, mark: Mark, ids: Sequence[int]) -> None:
    """As part of a document, after the mark."""
    reader.rewind(mark)
    with reader.cache.reading():
        reader.prefill(ids)
