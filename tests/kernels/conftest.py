"""Triton's kernels: compiled where there is a GPU, else by Triton's interpreter on the CPU."""

import importlib
import sys
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest
import torch

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# Products of bfloat16 are wrong in the interpreter of Triton 3.9.
DTYPES = [torch.float32, torch.float16] + ([torch.bfloat16] if DEVICE == "cuda" else [])


@pytest.fixture(params=DTYPES, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


@pytest.fixture
def fused() -> Iterator[Callable[[str], ModuleType]]:
    """Imports a kernel by its operation, and forgets it afterwards."""
    imported = []

    def load(operation: str) -> ModuleType:
        name = f"lcdoc.kernels.{operation}.fused"
        imported.append(name)
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    yield load
    for name in imported:
        sys.modules.pop(name, None)


@pytest.fixture
def made(dtype: torch.dtype) -> Callable[..., torch.Tensor]:
    """Makes a tensor of normal numbers, the same for the same seed."""

    def make(*shape: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        return torch.randn(*shape, generator=generator).to(DEVICE, dtype)

    return make


def bound(truth: torch.Tensor, plain: torch.Tensor) -> torch.Tensor:
    """The error allowed: twice that of plain PyTorch at this precision."""
    return 2 * (plain.float() - truth).abs().max() + 1e-5
