"""Choosing the next token from its logits."""

import torch


class Sampler:
    """Greedy at temperature 0, else nucleus sampling (arXiv 1904.09751) from a generator of its own."""

    def __init__(self, temperature: float = 0.0, top_p: float = 1.0, seed: int = 0) -> None:
        self.temperature, self.top_p = temperature, top_p
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, logits: torch.Tensor) -> int:
        """logits: [vocab]. Returns a token id."""
        if self.temperature == 0:
            return int(logits.max(dim=0).indices)  # on CPUs quicker than argmax in 16 bits
        scaled = logits.float().cpu() / self.temperature
        probabilities, token_ids = torch.softmax(scaled, dim=-1).sort(descending=True)
        before = probabilities.cumsum(-1) - probabilities  # mass of all likelier tokens
        probabilities[before >= self.top_p] = 0.0
        return int(token_ids[torch.multinomial(probabilities, 1, generator=self.generator)])
