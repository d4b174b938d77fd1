"""Each kernel beside PyTorch's way to the same end, on random numbers."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch

from lcdoc.bench.operations import Heads, Operation, Operations
from lcdoc.bench.subject import SHAPES
from lcdoc.bench.timing import take_turns
from lcdoc.errors import UsageError
from lcdoc.evaluate.report import new_report
from lcdoc.models import choose_device, choose_dtype

OWN, REFERENCE = "lcdoc", "reference"
# The least that makes a page of each head, and a block.
LEAST_TOKENS = 64


@dataclass(frozen=True)
class KernelTimes:
    """Samples in seconds of one operation and of its reference, taken in turns."""

    length_tokens: int
    operation: str
    unit: str
    work: float
    reference: str
    reference_work: float
    samples_s: list[float]
    reference_samples_s: list[float]

    @classmethod
    def of(cls, operation: Operation, length: int, device: torch.device, repeats: int) -> "KernelTimes":
        runs = {OWN: operation.run, REFERENCE: operation.run_reference}
        samples = take_turns(device, runs, repeats)
        return cls(
            length,
            operation.name,
            operation.unit,
            operation.work,
            operation.reference,
            operation.reference_work,
            samples[OWN],
            samples[REFERENCE],
        )

    @property
    def rate_per_s(self) -> float:
        """Of the work that is done, in units of `unit`."""
        return self.work / median(self.samples_s)

    @property
    def reference_rate_per_s(self) -> float:
        return self.reference_work / median(self.reference_samples_s)

    @property
    def reference_to_own(self) -> float:
        """How many times as long the reference takes: the median over the turns."""
        return median(
            theirs / own for own, theirs in zip(self.samples_s, self.reference_samples_s, strict=True)
        )

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {
            "median_s": median(self.samples_s),
            "min_s": min(self.samples_s),
            "max_s": max(self.samples_s),
            "rate_per_s": self.rate_per_s,
            "reference_median_s": median(self.reference_samples_s),
            "reference_rate_per_s": self.reference_rate_per_s,
            "reference_to_own": self.reference_to_own,
        }


def heads_of(shape: str, chunk_tokens: int) -> Heads:
    """Those of one of SHAPES. Raises UsageError."""
    if shape not in SHAPES:
        raise UsageError(f"shape must be one of {', '.join(SHAPES)}, not {shape!r}")
    values = SHAPES[shape]
    num_heads = values["num_attention_heads"]
    return Heads(num_heads, values["num_key_value_heads"], values["hidden_size"] // num_heads, chunk_tokens)


class KernelBench:
    """lengths: tokens read before. Raises UsageError for a value that is not allowed."""

    def __init__(
        self, shape: str, lengths: tuple[int, ...], repeats: int, chunk_tokens: int, device: str, dtype: str
    ) -> None:
        for name, value, least in (("lengths", min(lengths), LEAST_TOKENS), ("repeats", repeats, 1)):
            if value < least:
                raise UsageError(f"{name} must be {least} or more, not {value}")
        self._heads, self._lengths, self._repeats = heads_of(shape, chunk_tokens), lengths, repeats
        self._device = choose_device(device)
        self._dtype = choose_dtype(dtype, self._device)
        self._head = new_report("bench kernels", f"random numbers, {shape}", device, dtype) | {
            "settings": {"lengths": list(lengths), "repeats": repeats, **asdict(self._heads)}
        }
        self._complete = False
        self.times: list[KernelTimes] = []

    @torch.inference_mode()
    def run(self) -> Iterator[KernelTimes]:
        """Measures operation after operation and yields each as it is done."""
        for length in self._lengths:
            operations = Operations(self._heads, length, self._device, self._dtype)
            for operation in operations.all():
                times = KernelTimes.of(operation, length, self._device, self._repeats)
                self.times.append(times)
                yield times
        self._complete = True

    def report(self) -> dict[str, Any]:
        """All there is so far, ready for JSON."""
        return self._head | {
            "complete": self._complete,
            "results": [times.to_json() for times in self.times],
        }
