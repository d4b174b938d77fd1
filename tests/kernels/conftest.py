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


def masked_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scale: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain attention in the tensors' own dtype: in float64 the truth, in others what plain PyTorch loses there.

    query: [1, heads, queries, head_dim]; keys, values: [1, kv_heads, keys, head_dim]; mask: bool, [queries, keys] or
    with heads before. Returns output and log-sum-exp.
    """
    group = query.shape[1] // keys.shape[1]
    keys, values = keys.repeat_interleave(group, 1), values.repeat_interleave(group, 1)
    scores = (query @ keys.transpose(-1, -2) * scale).masked_fill(~mask, float("-inf"))
    return torch.softmax(scores, -1) @ values, torch.logsumexp(scores, -1)


def assert_close_as_pytorch(
    found: tuple[torch.Tensor, torch.Tensor],
    tensors: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
    mask: torch.Tensor,
    scale: float,
) -> None:
    """The output is off from the float64 truth by at most twice what plain PyTorch is at this precision; so is the
    log-sum-exp, or by 1e-4, since a row has but one.

    tensors: query, keys and values; PyTorch has them all in the query's dtype.
    """
    truths = masked_attention(*(tensor.double() for tensor in tensors), mask, scale)
    plains = masked_attention(*(tensor.to(tensors[0].dtype) for tensor in tensors), mask, scale)
    for part, truth, plain, least in zip(found, truths, plains, (0.0, 1e-4), strict=True):
        allowed = max(2 * (plain.double() - truth).abs().max().item(), least)
        assert (part.double() - truth).abs().max() <= allowed
