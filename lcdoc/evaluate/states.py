"""Final hidden states, and how much they change."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch


@contextmanager
def final_states(model: Any) -> Iterator[list[torch.Tensor]]:
    """While it is open, collects what the model's output layer is given: the states after the last norm of each token
    whose logits are wanted, a tensor [length, hidden] for each forward pass."""
    collected: list[torch.Tensor] = []

    def collect(module: Any, inputs: tuple[torch.Tensor, ...]) -> None:
        collected.append(inputs[0][0].double().cpu())

    handle = model.get_output_embeddings().register_forward_pre_hook(collect)
    try:
        yield collected
    finally:
        handle.remove()


def similarity(states: torch.Tensor, others: torch.Tensor) -> float:
    """Mean cosine of each state with the other of the same token; both [length, hidden]. Equal ones give 1 exactly."""
    distance = (_directions(states) - _directions(others)).square().sum(-1) / 2
    return 1 - float(distance.mean())


def anisotropy(states: torch.Tensor, unrelated: torch.Tensor) -> float:
    """Mean cosine of every state with every one of an unrelated text: what two states have in common anyway."""
    return float(_directions(states).mean(0) @ _directions(unrelated).mean(0))


def change(similarity: float, anisotropy: float) -> float:
    """1 less the calibrated similarity: 0 where nothing changed, 1 where the states are as unlike as those of
    unrelated texts."""
    return (1 - similarity) / (1 - anisotropy)


def _directions(states: torch.Tensor) -> torch.Tensor:
    return states / states.norm(dim=-1, keepdim=True)
