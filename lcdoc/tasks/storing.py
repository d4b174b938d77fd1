"""Keeping what was read: where, for which readings, and what decides whether it can be used again."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any

from lcdoc.config import StoreSettings
from lcdoc.engine.budget import Rung
from lcdoc.engine.extension import Extension, one_table
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.memory import size_bytes
from lcdoc.models import ModelFiles, stored_weights
from lcdoc.models.filehash import sha256_of
from lcdoc.models.folders import store_folder
from lcdoc.store.chain import Chain
from lcdoc.store.store import Store
from lcdoc.tasks.host import Host
from lcdoc.tasks.room import Room

# A shorter text is read in less time than it takes to look after its blocks.
LEAST_TOKENS = 1000

# Goes up whenever the same way of reading leaves other numbers, or they are written down otherwise.
FORMAT = 1


def open_store(settings: StoreSettings) -> Store | None:
    """The user's store, or None where it is turned off."""
    if not settings.store:
        return None
    limit = None if settings.max_size is None else size_bytes(settings.max_size)
    return Store(store_folder(), limit)


def why_not_stored(rung: Rung, tokens: int) -> str | None:
    """None where a text of so many tokens, read so, is kept; else the reason, empty where it is not worth a word."""
    if tokens < LEAST_TOKENS:
        return ""
    if rung.eviction is not None:
        return "what is kept of the document depends on more than its text"
    return None


def open_chain(
    store: Store,
    host: Host,
    weights: str,
    split: HeadSplit,
    kv_dtype: str,
    room: Room,
    sources: Sequence[str],
    counted: range,
    on_note: Callable[[str], None],
) -> Chain:
    """weights, split, kv_dtype, room: how the text is read. sources: where it comes from. counted: which of the tokens
    read are the document's."""
    way = {
        "format": FORMAT,
        "made by": _makers(host.device.type),
        "model": _files_sha256(host.files),
        "computed": [host.device.type, host.dtype_name, stored_weights(weights, host.dtype)],
        "stored": kv_dtype,
        "heads": _heads(split, host.shape(weights).windows, room.capacity_tokens),
        "positions": _positions(room.extension) or one_table(host.config, room.capacity_tokens),
    }
    about = {
        "model": host.files.name,
        "dtype": host.dtype_name if kv_dtype == "model" else kv_dtype,
        "sources": json.dumps(list(sources)),
    }
    return Chain(store, way, about, counted, on_note)


def _makers(device: str) -> list[str]:
    """Others may compute other numbers."""
    import torch
    import transformers

    makers = [torch.__version__, transformers.__version__]
    return [*makers, torch.backends.cpu.get_cpu_capability()] if device == "cpu" else makers


def _files_sha256(files: ModelFiles) -> list[str]:
    if files.is_gguf:
        return [sha256_of(files.path)]
    names = sorted([*files.path.glob("*.safetensors"), files.path / "config.json"])
    return [sha256_of(path) for path in names]


def _heads(split: HeadSplit, windows: Sequence[int | None], capacity_tokens: int) -> list[Any]:
    """Which heads see what. A window that a text can't outgrow is none: then its keys are attended in another order."""
    sizes = [split.sink_size, split.recent_size, split.prefill_recent_size]
    outgrown = split.sink_size + split.recent_size < capacity_tokens
    own = [None if window is None or window >= capacity_tokens else window for window in windows]
    streaming = [sorted(heads) for heads in split.streaming]
    return [streaming, *sizes, outgrown, own] if split.num_streaming_heads else [own]


def _positions(extension: Extension | None) -> dict[str, Any] | None:
    """The length itself says nothing that the factor does not."""
    if extension is None:
        return None
    fields = asdict(extension)
    del fields["length_tokens"]
    return fields
