"""The ways of reading that are compared: lcdoc's modes, and stock transformers as its users run it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from lcdoc.config import ReadSettings
from lcdoc.engine.attention import register
from lcdoc.engine.budget import ModelShape
from lcdoc.engine.eviction import POLICIES
from lcdoc.engine.reader import Reader
from lcdoc.errors import UsageError
from lcdoc.evaluate.stock import StockReader
from lcdoc.tasks.plan import Need, list_rungs

STOCK = "stock"
ROUNDED = ("bfloat16", "int8", "int4")
MODES = ("exact", "stream", "duo", *ROUNDED, STOCK)


class Cache(Protocol):
    """What holds keys and values."""

    @property
    def nbytes(self) -> int: ...


class AnyReader(Protocol):
    """What lcdoc's Reader and the stock one have in common."""

    @property
    def cache(self) -> Cache: ...

    def prefill(self, token_ids: Sequence[int], on_chunk: Callable[[int], None] | None = None) -> None: ...

    def read(
        self,
        token_ids: Sequence[int],
        on_chunk: Callable[[int], None] | None = None,
        *,
        questions: Sequence[Sequence[int]] = (),
        repeat_ids: Sequence[int] = (),
    ) -> None: ...

    def decode(
        self, pick: Callable[[torch.Tensor], int], stop_ids: Collection[int], max_new_tokens: int
    ) -> Iterator[int]: ...

    def score(self, token_ids: Sequence[int]) -> torch.Tensor: ...

    def mark(self) -> Any: ...

    def rewind(self, mark: Any) -> None: ...


def check_modes(modes: Sequence[str]) -> None:
    """Raises UsageError for an unknown mode, or none. An eviction policy is one with what it keeps: snapkv@25%."""
    unknown = [mode for mode in modes if mode not in MODES and not _evicts(mode)]
    if unknown or not modes:
        named = repr(unknown[0]) if unknown else "none"
        raise UsageError(
            f"modes must be some of {', '.join(MODES)} or a policy and what it keeps, such as question@25%, not {named}"
        )


def _evicts(mode: str) -> bool:
    policy, _, keep = mode.partition("@")
    if policy not in POLICIES:
        return False
    ReadSettings(evict=policy, keep=keep)
    return True


def settings_for(mode: str, settings: ReadSettings) -> ReadSettings:
    """The settings under which a mode reads: each takes only those that concern it."""
    streams = mode in ("stream", "duo")
    rounded = mode in ROUNDED
    if _evicts(mode):
        policy, _, keep = mode.partition("@")
        return replace(settings, mode="auto", kv_dtype="model", profile=None, evict=policy, keep=keep)
    return replace(
        settings,
        mode="exact" if mode == STOCK else "auto" if rounded else mode,
        kv_dtype=mode if rounded else "model",
        profile=settings.profile if mode == "duo" else None,
        sink_size=settings.sink_size if streams else None,
        recent_size=settings.recent_size if streams else None,
    )


def stock_attention(model: Any) -> str:
    """What transformers would attend with: SDPA, or its plain attention where the model has no other."""
    return "sdpa" if model._supports_sdpa else "eager"


def switch(model: Any, mode: str) -> None:
    """Makes the model attend as the mode does, until it is switched again."""
    model.set_attn_implementation(stock_attention(model) if mode == STOCK else register())


def open_reader(
    model: Any, mode: str, settings: ReadSettings, capacity_tokens: int, need: Need | None = None
) -> AnyReader:
    """A reader in this mode, for capacity_tokens; the model is switched to the mode, and must stay so while it reads.
    need: what will be read, for modes that evict.

    Raises UsageError where the settings do not go with the mode.
    """
    switch(model, mode)
    if mode == STOCK:
        return StockReader(model)
    shape = ModelShape.from_config(model.config, 0, model.dtype)
    rung = next(list_rungs(settings_for(mode, settings), shape, capacity_tokens, base_bytes=0, need=need))
    return Reader(
        model,
        rung.split,
        capacity_tokens=capacity_tokens,
        chunk_tokens=rung.chunk_tokens,
        kv_dtype=rung.kv_dtype,
        eviction=rung.eviction,
    )
