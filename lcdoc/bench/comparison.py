"""Samples of several modes beside stock's, and the ratios between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from lcdoc.evaluate.modes import STOCK


@dataclass(frozen=True)
class Comparison:
    """One length, measured in every mode. samples: by mode, one for each repeat, less being better;
    samples of the same repeat were taken one after the other. STOCK is one of the modes."""

    length_tokens: int
    samples: Mapping[str, Sequence[float]]

    def ratios(self, mode: str) -> list[float]:
        """Repeat by repeat, how many times as much stock took: above 1 the mode is better."""
        return [stock / own for stock, own in zip(self.samples[STOCK], self.samples[mode], strict=True)]

    def ratio(self, mode: str) -> float:
        """The median of the ratios: what slows a whole repeat down does not move it."""
        return median(self.ratios(mode))

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
