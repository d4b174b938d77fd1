"""Grouped positions (Self-Extend, arXiv 2401.01325): near tokens keep theirs, those farther away share one."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Grouping:
    """near_tokens: a query sees its last near_tokens tokens, itself among them, at their own distance. group_tokens: so
    many tokens in a row share a position for queries farther away."""

    near_tokens: int
    group_tokens: int

    def key_steps(self, positions: torch.Tensor) -> torch.Tensor:
        """How far keys at these positions, [length], move to be seen from afar."""
        return positions // self.group_tokens - positions

    def query_steps(self, positions: torch.Tensor) -> torch.Tensor:
        """How far queries at these positions, [length], move to see what is far: so that the nearest of it is about
        near_tokens away."""
        shift = self.near_tokens - self.near_tokens // self.group_tokens
        return positions // self.group_tokens + shift - positions
