"""Samples of several modes beside stock's, and the ratios between them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any, Self

from lcdoc.evaluate.modes import STOCK


@dataclass(frozen=True)
class Comparison:
    """One length, measured in every mode. samples: by mode, one for each repeat, less being better;
    samples of the same repeat were taken one after the other. STOCK is one of the modes."""

    length_tokens: int
    samples: Mapping[str, Sequence[float]]

    @classmethod
    def of(cls, length_tokens: int, modes: Iterable[str]) -> Self:
        """Nothing measured yet."""
        return cls(length_tokens, {mode: [] for mode in modes})

    def with_turn(self, measured: Mapping[str, float]) -> Self:
        """And one sample more of each mode."""
        samples = {mode: [*own, measured[mode]] for mode, own in self.samples.items()}
        return replace(self, samples=samples)

    def ratios(self, mode: str) -> list[float]:
        """Repeat by repeat, how many times as much stock took: above 1 the mode is better."""
        return [stock / own for stock, own in zip(self.samples[STOCK], self.samples[mode], strict=True)]

    def ratio(self, mode: str) -> float:
        """The median of the ratios: what slows a whole repeat down does not move it."""
        return median(self.ratios(mode))

    def rates(self, mode: str, beside: "Comparison") -> list[float]:
        """Repeat by repeat, this length's tokens a second as a share of another's, where samples are seconds."""
        lengths = self.length_tokens / beside.length_tokens
        return [
            lengths * other / own
            for own, other in zip(self.samples[mode], beside.samples[mode], strict=False)
        ]

    def to_json(self, unit: str) -> dict[str, Any]:
        """unit: what samples are in, "s" or "bytes"."""
        return {
            "length_tokens": self.length_tokens,
            "modes": {
                mode: {
                    f"samples_{unit}": list(samples),
                    f"median_{unit}": median(samples),
                    f"min_{unit}": min(samples),
                    f"max_{unit}": max(samples),
                    "stock_to_mode": self.ratio(mode),
                    "stock_to_mode_samples": self.ratios(mode),
                }
                for mode, samples in self.samples.items()
            },
        }
