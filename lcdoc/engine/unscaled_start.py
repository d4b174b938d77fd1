"""A rotary embedding whose first tokens are turned as in training (LongRoPE, arXiv 2402.13753, section 3.1)."""

import torch


class UnscaledStart(torch.nn.Module):
    """Two embeddings as one: unscaled, the model's own angles, for the first start_tokens positions, and scaled for all
    others. What the scaled one multiplies its cosines by goes for both."""

    def __init__(self, scaled: torch.nn.Module, unscaled: torch.nn.Module, start_tokens: int) -> None:
        super().__init__()
        self.scaled, self.unscaled, self.start_tokens = scaled, unscaled, start_tokens

    @property
    def inv_freq(self) -> torch.Tensor:
        """Of the tokens that are scaled, [rotary_dim / 2]."""
        return self.scaled.inv_freq  # type: ignore[return-value]

    @property
    def attention_scaling(self) -> float:
        return self.scaled.attention_scaling  # type: ignore[return-value]

    def forward(self, x: torch.Tensor, position_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """position_ids: [1, length]. Returns cosines and sines, [1, length, rotary_dim]."""
        first = (position_ids < self.start_tokens)[..., None]
        pairs = zip(self.unscaled(x, position_ids), self.scaled(x, position_ids), strict=True)
        cosine, sine = (torch.where(first, own * self.attention_scaling, far) for own, far in pairs)
        return cosine, sine
