"""Ways to slow a model's rotary angles, each channel pair by a factor of its own (LongRoPE, arXiv 2402.13753)."""

import math
from dataclasses import dataclass
from itertools import pairwise
from random import Random
from typing import Any

from lcdoc.engine.extension import Extension, extend_positions

# Numbers of first tokens that may stay unscaled, as in the paper (appendix A).
STARTS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256)
# How much longer than the seeds' greatest factor one may grow, as in the paper (section 3.2).
HEADROOM = 1.25
MOST_ATTENTION = 1.5
# Of one mutation: the spread of the logarithms, how often the factors stay, and how often each of the others changes.
FACTOR_SPREAD, ATTENTION_SPREAD = 0.25, 0.05
ALIKE_SHARE, ATTENTION_SHARE, START_SHARE = 0.3, 0.6, 0.3
DECIMALS = 6


@dataclass(frozen=True)
class Rescale:
    """factors: what each pair of channels' angle is divided by, the fastest first; 1 or more and never decreasing.
    attention_factor: of cosines and sines. start_tokens: the first tokens, whose angles stay as they are."""

    factors: tuple[float, ...]
    attention_factor: float = 1.0
    start_tokens: int = 0

    def __post_init__(self) -> None:
        assert all(before <= after for before, after in pairwise((1.0, *self.factors)))
        assert self.attention_factor >= 1 and self.start_tokens in STARTS

    @classmethod
    def of(cls, model: Any, extension: Extension) -> "Rescale":
        """What another method comes to, so that a search can start from there."""
        extend_positions(model, None)
        own = model.get_decoder().rotary_emb.inv_freq.double()
        extend_positions(model, extension)
        rotary = model.get_decoder().rotary_emb
        factors = (own / rotary.inv_freq.double()).tolist()
        attention_factor = float(rotary.attention_scaling)
        extend_positions(model, None)
        return rescale(factors, attention_factor, 0, math.inf)

    @property
    def rope(self) -> dict[str, Any]:
        """As a profile holds it, and Extension.of takes it."""
        return {
            "factors": list(self.factors),
            "attention_factor": self.attention_factor,
            "start_tokens": self.start_tokens,
        }


def rescale(factors: list[float], attention_factor: float, start_tokens: int, most: float) -> Rescale:
    """With every factor from 1 to most, in order: a slower angle is never divided by less than a faster one."""
    bounded = sorted(round(min(max(factor, 1.0), most), DECIMALS) for factor in factors)
    attention = round(min(max(attention_factor, 1.0), MOST_ATTENTION), DECIMALS)
    return Rescale(tuple(bounded), attention, start_tokens)


def most_factor(seeds: tuple[Rescale, ...]) -> float:
    """The greatest factor that is searched."""
    return HEADROOM * max(seed.factors[-1] for seed in seeds)


def mutate(parent: Rescale, source: Random, most: float) -> Rescale:
    """Some neighbouring angles faster or slower together, the attention factor and the start, or all of them."""
    factors, attention, start = list(parent.factors), parent.attention_factor, parent.start_tokens
    if source.random() >= ALIKE_SHARE:
        first, last = sorted(source.randrange(len(factors)) for _ in range(2))
        times = math.exp(source.gauss(0, FACTOR_SPREAD))
        factors = [factor * times if first <= pair <= last else factor for pair, factor in enumerate(factors)]
    if source.random() < ATTENTION_SHARE:
        attention *= math.exp(source.gauss(0, ATTENTION_SPREAD))
    if source.random() < START_SHARE:
        beside = STARTS.index(start) + source.choice((-1, 1))
        start = STARTS[min(max(beside, 0), len(STARTS) - 1)]
    return rescale(factors, attention, start, most)


def cross(fast: Rescale, slow: Rescale, source: Random, most: float) -> Rescale:
    """The fast angles of one and the slow ones of the other, the rest of either."""
    cut = source.randrange(1, len(fast.factors))
    other = source.choice((fast, slow))
    start = source.choice((fast, slow)).start_tokens
    return rescale([*fast.factors[:cut], *slow.factors[cut:]], other.attention_factor, start, most)
