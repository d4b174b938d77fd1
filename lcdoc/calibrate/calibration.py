"""Finding which heads of a model retrieve, from its weights to a head profile."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from transformers import AttentionInterface

from lcdoc.calibrate.checkpoint import load_checkpoint, save_checkpoint
from lcdoc.calibrate.gated_attention import GatedAttention
from lcdoc.calibrate.landing import Landing, observe, rank_gates
from lcdoc.calibrate.passkeys import Recipe
from lcdoc.calibrate.training import Schedule, Step, Training
from lcdoc.config import ReadSettings
from lcdoc.engine.profiles import HeadProfile, load_profile
from lcdoc.errors import DoesNotFitError
from lcdoc.evaluate.haystack import Haystack
from lcdoc.models import load_config, load_model, load_tokenizer, resolve
from lcdoc.tasks.own_profile import own_profile, user_profile_path, weights_sha256
from lcdoc.tasks.room import context_window

IMPLEMENTATION = "lcdoc-calibrate"

# Examples that are only looked at. The order of the first heads is the same from the second one on.
OBSERVED = 4
# Where training starts: 1 for the head on which most lands, this for the one on which least does.
LEAST_START = 0.25
LANDED = "landed"
# While a document is read, streaming heads see so many times the tokens that they keep afterwards: what the other heads
# hold is then closer to an exact reading's, and needles that were lost at 75% and 87% streaming were found.
PREFILL_TIMES = 4
DECIMALS = 4


@dataclass(frozen=True)
class Goal:
    """What is calibrated for, and on what. sink_size, recent_size: of the heads that will stream. book: a shipped
    one or a file of text."""

    recipe: Recipe = field(default_factory=Recipe)
    schedule: Schedule = field(default_factory=Schedule)
    sink_size: int = 64
    recent_size: int = 256
    book: str = "frankenstein"


class Calibration:
    """A model whose heads are judged. Making it loads the model."""

    def __init__(self, settings: ReadSettings, goal: Goal) -> None:
        """Raises DoesNotFitError where an example is longer than the model's window."""
        self._goal, self._files = goal, resolve(settings.model)
        config, tokenizer = load_config(self._files), load_tokenizer(self._files)
        self._haystack = Haystack.open(goal.book, tokenizer)
        longest = max(len(example.token_ids) for example in islice(self._examples(), OBSERVED))
        window = context_window(config)
        if longest > window:
            raise DoesNotFitError(
                f"an example has up to {longest:,} tokens, but the model's window is {window:,}; "
                f"choose fewer --context-tokens"
            )
        text_config = config.get_text_config()
        self._shape = text_config.num_hidden_layers, text_config.num_key_value_heads
        self._landing = Landing(*self._shape, goal.sink_size, goal.recent_size)
        AttentionInterface.register(IMPLEMENTATION, self._landing)
        self._model: Any = load_model(
            self._files, device=settings.device, dtype=settings.dtype, attn_implementation=IMPLEMENTATION
        )
        self._date = datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def path(self) -> Path:
        """Where the profile belongs, to be used whenever this model reads."""
        return user_profile_path(self._files)

    def look(self) -> HeadProfile:
        """The quick way: gates by where attention lands, from one reading of a few examples."""
        return self._profile(
            rank_gates(self._landed),
            "where attention lands while passkeys are repeated",
            method="rank of the attention that answers pay to the passkey they repeat",
            examples=OBSERVED,
        )

    def train(self, checkpoint: Path) -> Iterator[Step]:
        """Trains from where the checkpoint is, else from what `look` finds; each step is saved there as it is done.
        Ends with `trained` ready. Raises UsageError for a checkpoint of other settings."""
        goal = self._goal
        started_with = asdict(goal) | {"model": self._files.name, "model_sha256": self._sha256}
        state = load_checkpoint(checkpoint, started_with)
        self._ranks = rank_gates(self._landed) if state is None else state.pop(LANDED)
        gates = (
            LEAST_START + (1 - LEAST_START) * self._ranks.float() if state is None else state["gates"].clone()
        )
        attention = GatedAttention(gates.to(self._model.device), goal.sink_size, goal.recent_size)
        AttentionInterface.register(IMPLEMENTATION, attention)
        self._training = Training(self._model.base_model, attention, goal.schedule)
        if state is not None:
            self._training.restore(state)
        for step in self._training.run(goal.recipe, self._haystack):
            save_checkpoint(checkpoint, self._training.state() | {LANDED: self._ranks}, started_with)
            yield step

    def trained(self) -> HeadProfile:
        """The profile of the gates as they are now."""
        goal, steps = self._goal, self._training.steps
        return self._profile(
            self._training.gates.detach(),
            "gates trained on passkeys, with the model's weights frozen (DuoAttention, arXiv 2410.10819)",
            landed=self._ranks,
            method="AdamW on the final hidden states of answers",
            steps=len(steps),
            learning_rate=goal.schedule.learning_rate,
            gate_weight=goal.schedule.gate_weight,
            loss=[round(step.loss, DECIMALS) for step in steps],
        )

    @cached_property
    def _landed(self) -> torch.Tensor:
        observe(self._model.base_model, self._landing, islice(self._examples(), OBSERVED), self._model.device)
        return self._landing.mean

    @cached_property
    def _sha256(self) -> str:
        return weights_sha256(self._files)

    def _examples(self) -> Iterator[Any]:
        """Others than those that are trained on."""
        return self._goal.recipe.examples(self._haystack, first=-OBSERVED)

    def _profile(
        self, gates: torch.Tensor, source: str, landed: torch.Tensor | None = None, **measured: Any
    ) -> HeadProfile:
        goal, before = self._goal, own_profile(self._files)
        return HeadProfile(
            rope=load_profile(before).rope if before else None,
            model=self._files.name,
            gates=_rows(gates),
            landed=None if landed is None else _rows(landed),
            sink_size=goal.sink_size,
            recent_size=goal.recent_size,
            source=source,
            prefill_recent_size=PREFILL_TIMES * goal.recent_size,
            measured={
                **measured,
                "data": f"{goal.recipe.data} in {self._haystack.name}",
                "data_sha256": self._haystack.sha256,
                "context_tokens": [goal.recipe.context_tokens // 2, goal.recipe.context_tokens],
                "seed": goal.recipe.seed,
                "dtype": str(self._model.dtype).removeprefix("torch."),
                "date": self._date,
                "versions": {name: version(name) for name in ("lcdoc", "torch", "transformers")},
                "model_sha256": self._sha256,
            },
        )


def _rows(table: torch.Tensor) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(number, DECIMALS) for number in row) for row in table.tolist())
