"""Training the gates: each head streams as far as the answers stay the same (DuoAttention, arXiv 2410.10819)."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from lcdoc.calibrate.gated_attention import GatedAttention
from lcdoc.calibrate.passkeys import Example, Recipe
from lcdoc.engine.profiles import GATE_THRESHOLD
from lcdoc.evaluate.haystack import Haystack


@dataclass(frozen=True)
class Schedule:
    """steps: examples seen, one at a time. The learning rate rises over the first fifth and falls over the last."""

    steps: int = 100
    learning_rate: float = 0.02
    gate_weight: float = 0.05

    def learning_rate_at(self, step: int) -> float:
        """step: from 0."""
        fifth = max(1, self.steps // 5)
        return self.learning_rate * min(1.0, (step + 1) / fifth, (self.steps - step) / fifth)


@dataclass(frozen=True)
class Step:
    """number: how many steps are done. difference: of the answers' final hidden states, squared, on average over
    positions and dimensions. loss: with the weighted mean gate. streaming_share: of heads with a gate below
    GATE_THRESHOLD."""

    number: int
    loss: float
    difference: float
    streaming_share: float


class Training:
    """Gates in training. The model is frozen and attends through `attention`; only the gates have gradients."""

    def __init__(self, model: Any, attention: GatedAttention, schedule: Schedule) -> None:
        """model: the decoder without its head, in eval mode. Layers are computed anew in the backward pass, so that
        memory holds one at a time."""
        self._model, self._attention, self._schedule = model, attention, schedule
        self.gates = attention.gates.requires_grad_(True)
        self._optimiser = torch.optim.AdamW([self.gates], lr=schedule.learning_rate, weight_decay=0.0)
        self.steps: list[Step] = []
        # The newer name, where transformers has it.
        older = model.gradient_checkpointing_enable
        getattr(model, "activation_checkpointing_enable", older)({"use_reentrant": False})
        for module in model.modules():
            if hasattr(module, "gradient_checkpointing"):
                module.training = True  # of the layer alone: nothing inside it drops anything out

    def run(self, recipe: Recipe, haystack: Haystack) -> Iterator[Step]:
        """The steps that are left, each as it is done."""
        examples = recipe.examples(haystack, first=len(self.steps))
        while len(self.steps) < self._schedule.steps:
            self.steps.append(self._step(next(examples)))
            yield self.steps[-1]

    def _step(self, example: Example) -> Step:
        with torch.no_grad():
            self._attention.gating = False
            target = self._answer_states(example)
        self._attention.gating = True
        difference = (self._answer_states(example) - target).square().mean()
        loss = difference + self._schedule.gate_weight * self.gates.mean()
        self._optimiser.zero_grad()
        loss.backward()
        for group in self._optimiser.param_groups:
            group["lr"] = self._schedule.learning_rate_at(len(self.steps))
        self._optimiser.step()
        with torch.no_grad():
            self.gates.clamp_(0.0, 1.0)
        share = float((self.gates < GATE_THRESHOLD).float().mean())
        return Step(len(self.steps) + 1, loss.item(), difference.item(), share)

    def _answer_states(self, example: Example) -> torch.Tensor:
        """Final hidden states where the next token belongs to an answer, [answer tokens, hidden_size] in float32."""
        token_ids = torch.tensor([example.token_ids], device=self.gates.device)
        states = self._model(input_ids=token_ids, use_cache=False).last_hidden_state
        return states[0, example.answer_positions].float()

    def state(self) -> dict[str, torch.Tensor]:
        """All that a training needs to go on exactly where it was."""
        moments = self._optimiser.state.get(self.gates, {})
        curve = [[step.loss, step.difference, step.streaming_share] for step in self.steps]
        return {
            "gates": self.gates.detach().cpu(),
            "curve": torch.tensor(curve, dtype=torch.float64).view(-1, 3),
            **{name: value.detach().cpu() for name, value in moments.items()},
        }

    def restore(self, state: dict[str, torch.Tensor]) -> None:
        """Goes back to where `state` was taken."""
        moments = {name: value.clone() for name, value in state.items() if name not in ("gates", "curve")}
        with torch.no_grad():
            self.gates.copy_(state["gates"])
        for name in ("exp_avg", "exp_avg_sq"):
            if name in moments:
                moments[name] = moments[name].to(self.gates.device)
        if moments:
            self._optimiser.state[self.gates] = moments
        self.steps = [Step(number, *row) for number, row in enumerate(state["curve"].tolist(), start=1)]
