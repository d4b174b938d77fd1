"""Seconds of prefill and of decode, each mode beside stock transformers in one process, turn by turn."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from lcdoc.bench.comparison import Comparison
from lcdoc.bench.timing import synchronize
from lcdoc.bench.turns import Turns
from lcdoc.config import ReadSettings
from lcdoc.engine.sampling import Sampler
from lcdoc.evaluate.modes import STOCK, AnyReader, open_reader, switch
from lcdoc.tasks.progress import Observer, Progress, silent

# Given a model and a length, the tokens to read.
IdsOf = Callable[[Any, int], list[int]]

WARM_UP_TOKENS = 256
DECODE_TOKENS = 16


def random_ids(model: Any, length: int) -> list[int]:
    """The same ids for the same length and vocabulary. What they are makes a difference to reading by blocks alone:
    SmolLM2 then sees 33% of all pairs of 8,192 random ones, 32% of a novel's, 37% of a manual's."""
    generator = torch.Generator().manual_seed(length)
    vocab_size = model.config.get_text_config().vocab_size
    ids: list[int] = torch.randint(vocab_size, (length,), generator=generator).tolist()
    return ids


def compare_prefill(
    model: Any,
    settings: ReadSettings,
    turns: Turns,
    observer: Observer = silent,
    stock: Any = None,
    ids_of: IdsOf | None = None,
) -> Iterator[Comparison]:
    """Seconds to read each length, from the first token to the logits after the last: all there is of a length after
    each of its turns. stock: the model that stock transformers read with, where the modes' own has its weights rounded.
    ids_of: what is read, random ids by default.

    Lengths take turns as modes do: what slows the machine down for a while then slows each of them.
    """
    model_of = _models(model, stock)
    for mode in turns.contestants:
        warm_up = random_ids(model, WARM_UP_TOKENS)
        open_reader(model_of(mode), mode, settings, WARM_UP_TOKENS).read(warm_up)
    comparisons = {length: Comparison.of(length, turns.contestants) for length in turns.lengths}
    for repeat in range(turns.repeats):
        for length in turns.order(turns.lengths, repeat):
            ids = (ids_of or random_ids)(model, length)
            seconds = {}
            for mode in turns.order(turns.contestants, repeat):
                reader = open_reader(model_of(mode), mode, settings, length)
                synchronize(model.device)
                started = time.perf_counter()
                reader.read(ids)
                synchronize(model.device)
                seconds[mode] = time.perf_counter() - started
                observer(Progress("read", length, length, length / seconds[mode], reader.cache.nbytes, 0))
                del reader  # two caches of the longest length may not fit together
            comparisons[length] = comparisons[length].with_turn(seconds)
            yield comparisons[length]


def compare_decode(
    model: Any,
    settings: ReadSettings,
    turns: Turns,
    observer: Observer = silent,
    stock: Any = None,
    ids_of: IdsOf | None = None,
) -> Iterator[Comparison]:
    """Seconds for each token decoded after each length, over DECODE_TOKENS at a time: all there is of a length after
    each of its turns. stock, ids_of: as for compare_prefill.

    All caches are held together, and grow by the same tokens' number at each turn.
    """
    model_of = _models(model, stock)
    for length in turns.lengths:
        ids = (ids_of or random_ids)(model, length)
        capacity = length + (turns.repeats + 1) * DECODE_TOKENS
        readers = {}
        for mode in turns.contestants:
            readers[mode] = open_reader(model_of(mode), mode, settings, capacity)
            readers[mode].read(ids)
            _decode_s(model, readers[mode])  # warms up
            observer(Progress("read", length, length, 0.0, readers[mode].cache.nbytes, 0))
        comparison = Comparison.of(length, turns.contestants)
        for repeat in range(turns.repeats):
            seconds = {}
            for mode in turns.order(turns.contestants, repeat):
                switch(model_of(mode), mode)
                seconds[mode] = _decode_s(model, readers[mode])
            comparison = comparison.with_turn(seconds)
            yield comparison


def _models(model: Any, stock: Any) -> Callable[[str], Any]:
    return lambda mode: stock if mode == STOCK and stock is not None else model


def _decode_s(model: Any, reader: AnyReader) -> float:
    synchronize(model.device)
    started = time.perf_counter()
    for _ in reader.decode(Sampler(), (), DECODE_TOKENS):
        pass
    synchronize(model.device)
    return (time.perf_counter() - started) / DECODE_TOKENS
