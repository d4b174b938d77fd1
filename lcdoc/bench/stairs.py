"""The ways to read a document that a budget can choose from, and a few of them, spread from exact to least."""

from collections.abc import Sequence
from typing import Any

import torch

from lcdoc.config import ReadSettings
from lcdoc.documents.document import Document
from lcdoc.engine.budget import Rung
from lcdoc.engine.model_shape import ModelShape
from lcdoc.models import layer_bytes, weights_bytes
from lcdoc.tasks.plan import list_rungs
from lcdoc.tasks.room import Need, fit_window
from lcdoc.tokens import Prompt, tokenize


def rungs_of(
    document: Document,
    question: str,
    max_new_tokens: int,
    settings: ReadSettings,
    *,
    tokenizer: Any,
    config: Any,
    dtype: torch.dtype,
    device: torch.device,
) -> list[Rung]:
    """All ways with every weight on the device, the least lossy first, as `ask` would list them for the question,
    but for what the process takes by itself: their peaks are above that. Raises DoesNotFitError for a document longer
    than the model's window."""
    prompt = Prompt.from_tokenizer(tokenizer)
    need = Need(
        document_tokens=len(tokenize(tokenizer, [document]).token_ids),
        prompt_tokens=len(prompt.head_ids()) + len(prompt.question_ids(question, first=True)),
        max_new_tokens=max_new_tokens,
        keep_turns=False,
    )
    sizes = (
        weights_bytes(config, dtype, settings.weights),
        dtype,
        layer_bytes(config, dtype),
    )
    shape = ModelShape.from_config(config, *sizes, device)
    capacity_tokens = fit_window(config, need).capacity_tokens
    return list(list_rungs(settings, shape, capacity_tokens, base_bytes=0, need=need))


def spread(rungs: Sequence[Rung], steps: int) -> list[Rung]:
    """At most `steps` (2 or more) of them, their peaks evenly apart from the first one's to the least."""
    most, least = rungs[0].peak_bytes, min(rung.peak_bytes for rung in rungs)
    chosen: list[Rung] = []
    for step in range(steps):
        target_bytes = most - (most - least) * step // (steps - 1)
        rung = next(rung for rung in rungs if rung.peak_bytes <= target_bytes)
        if rung not in chosen:
            chosen.append(rung)
    return chosen
