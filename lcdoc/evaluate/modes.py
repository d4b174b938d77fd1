"""The ways of reading that are compared: lcdoc's modes, and stock transformers as its users run it."""

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from lcdoc.config import EXTENSIONS, ReadSettings
from lcdoc.engine.attention import register
from lcdoc.engine.budget import Rung
from lcdoc.engine.eviction import POLICIES
from lcdoc.engine.extension import Extension, extend_positions
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.reader import Reader
from lcdoc.engine.sparse_prefill import SparsePrefill, SparseRate
from lcdoc.errors import UsageError
from lcdoc.evaluate.stock import StockReader
from lcdoc.tasks.plan import list_rungs
from lcdoc.tasks.room import Need
from lcdoc.tasks.speeds import known_calibration

STOCK = "stock"
ROUNDED = ("bfloat16", "int8", "int4")
# How positions go beyond the window, with all else as in exact reading.
METHODS = tuple(name for name in EXTENSIONS if name not in ("none", "auto"))
MODES = ("exact", "stream", "duo", *ROUNDED, STOCK, *METHODS)

# With a share of heads that stream: those of the profile's lowest gates, and as many drawn at random.
DUO, RANDOM = "duo", "random"
RANDOM_SEED = 0
# Behind a mode's name, any of these in any order: the settings that it changes besides.
SUFFIXES: dict[str, dict[str, Any]] = {
    "sparse": {"sparse_prefill": True},
    "pages": {"page_selection": "on"},
    "int8": {"kv_dtype": "int8"},
    "int4": {"kv_dtype": "int4"},
}


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


def check_modes(modes: Sequence[str], others: Sequence[str] = ()) -> None:
    """others: allowed besides. Raises UsageError for an unknown mode, or none. An eviction policy is one with what it
    keeps, snapkv@25%; so are duo and random with the share of heads that stream, random@75%; each may have suffixes,
    duo@75%+int8+sparse+pages."""
    names = *MODES, *others
    unknown = [mode for mode in modes if mode not in names and not _is_known(mode)]
    if unknown or not modes:
        named = repr(unknown[0]) if unknown else "none"
        raise UsageError(
            f"modes must be some of {', '.join(names)} or a policy and what it keeps, such as question@25%, or duo or "
            f"random and the share of heads that stream, such as duo@75%, and behind lcdoc's own +sparse for reading "
            f"by blocks, +pages for answering by pages, +int8 or +int4 for how keys and values are stored, not {named}"
        )


def _is_known(mode: str) -> bool:
    """Whether it is one of lcdoc's own modes, with suffixes that change each setting once."""
    name, *suffixes = mode.split("+")
    if not set(suffixes) <= SUFFIXES.keys():
        return False
    changes = [setting for suffix in suffixes for setting in SUFFIXES[suffix]]
    own = (name in MODES and name != STOCK) or _evicts(name) or _streams(name)
    return own and len(changes) == len(set(changes))


def _evicts(mode: str) -> bool:
    policy, _, keep = mode.partition("@")
    if policy not in POLICIES:
        return False
    ReadSettings(evict=policy, keep=keep)
    return True


def _streams(mode: str) -> bool:
    heads, _, share = mode.partition("@")
    if heads not in (DUO, RANDOM):
        return False
    ReadSettings(streaming=share)
    return True


def settings_for(mode: str, settings: ReadSettings) -> ReadSettings:
    """The settings under which a mode reads: each takes only those that concern it."""
    name, *suffixes = mode.split("+")
    own = _plain_settings(name, replace(settings, sparse_prefill=False, page_selection="off"))
    for suffix in suffixes:
        own = replace(_loosened(own), **SUFFIXES[suffix])
    return own


def _plain_settings(mode: str, settings: ReadSettings) -> ReadSettings:
    """Of a mode without suffixes."""
    name, _, share = mode.partition("@")
    if name in (DUO, RANDOM):
        return replace(settings, mode="duo", kv_dtype="model", streaming=share or settings.streaming)
    plain = replace(settings, profile=None, streaming=None)
    if mode == "stream":
        return replace(plain, mode="stream", kv_dtype="model")
    plain = replace(plain, sink_size=None, recent_size=None)
    if _evicts(mode):
        return replace(plain, mode="auto", kv_dtype="model", evict=name, keep=share, profile=settings.profile)
    if mode in METHODS:
        return replace(plain, mode="auto", kv_dtype="model", extend=mode)
    if mode in ROUNDED:
        return replace(plain, mode="auto", kv_dtype=mode)
    # Beyond the window nothing is exact, but as much is kept.
    extends = settings.extend not in (None, "none")
    return replace(plain, mode="auto" if extends else "exact", kv_dtype="model")


def _loosened(settings: ReadSettings) -> ReadSettings:
    """As exact reading is, but for what is about to be given up."""
    return replace(settings, mode="auto") if settings.mode == "exact" else settings


def stock_attention(model: Any) -> str:
    """What transformers would attend with: SDPA, or its plain attention where the model, or its class, has no other."""
    return "sdpa" if model._supports_sdpa else "eager"


def switch(model: Any, mode: str) -> None:
    """Makes the model attend as the mode does, until it is switched again."""
    model.set_attn_implementation(stock_attention(model) if mode == STOCK else register())


def first_rung(
    shape: ModelShape,
    mode: str,
    settings: ReadSettings,
    capacity_tokens: int,
    need: Need | None = None,
    extension: Extension | None = None,
) -> Rung:
    """How lcdoc reads in this mode. need: what will be read, for modes that evict. extension: how positions go beyond
    the window.

    Raises UsageError where the settings do not go with the mode.
    """
    own = settings_for(mode, settings)
    return next(list_rungs(own, shape, capacity_tokens, base_bytes=0, need=need, extension=extension))


def open_reader(
    model: Any,
    mode: str,
    settings: ReadSettings,
    capacity_tokens: int,
    need: Need | None = None,
    extension: Extension | None = None,
) -> AnyReader:
    """A reader in this mode, for capacity_tokens; the model is switched to the mode, and must stay so while it reads.
    need, extension, UsageError: see first_rung.
    """
    switch(model, mode)
    if mode == STOCK:
        extend_positions(model, None)
        return StockReader(model)
    shape = ModelShape.from_config(model.config, 0, model.dtype)
    rung = first_rung(shape, mode, settings, capacity_tokens, need, extension)
    split = rung.split
    if mode.startswith(RANDOM):
        split = split.redrawn(shape.windows, shape.num_kv_heads, RANDOM_SEED)
    return Reader(
        model,
        split,
        capacity_tokens=capacity_tokens,
        chunk_tokens=rung.chunk_tokens,
        kv_dtype=rung.kv_dtype,
        eviction=rung.eviction,
        extension=extension,
        sparse=SparsePrefill(_sparse_rates(model)) if rung.sparse else None,
        selection=PageSelection() if rung.selects_pages else None,
    )


def _sparse_rates(model: Any) -> dict[str, SparseRate]:
    return known_calibration(model.device, model.dtype, lambda told: None).rates.sparse
