"""Tensors as they lie in a folder's safetensors files."""

import json
from dataclasses import dataclass
from math import prod
from mmap import ACCESS_COPY, ALLOCATIONGRANULARITY, mmap
from pathlib import Path
from typing import Any

import torch

from lcdoc.models.files import WEIGHTS_FILE, WEIGHTS_INDEX

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file, in memory only while what was read of it is in use. start: its first byte in the file.

    transformers maps whole files until all is loaded: tensors that are converted would count twice.
    """

    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    def __getitem__(self, index: Any) -> torch.Tensor:
        """As safetensors' own slices; [...] is all of it."""
        skipped = self.start % ALLOCATIONGRANULARITY  # a mapping starts where a page does
        count = prod(self.shape)
        length = skipped + count * self.dtype.itemsize
        with self.path.open("rb") as file:
            pages = mmap(file.fileno(), length, offset=self.start - skipped, access=ACCESS_COPY)
        return torch.frombuffer(pages, dtype=self.dtype, count=count, offset=skipped).view(self.shape)[index]


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """All tensors of a model's folder by name. Raises safetensors' own error for a damaged file."""
    index = folder / WEIGHTS_INDEX
    files = [folder / WEIGHTS_FILE]
    if index.is_file():
        shards = json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
        files = [folder / shard for shard in sorted(set(shards))]
    return {name: tensor for path in files for name, tensor in _tensors_of(path).items()}


def _tensors_of(path: Path) -> dict[str, StoredTensor]:
    """The file's header: eight bytes of its length, then JSON."""
    from safetensors import safe_open

    with safe_open(path, framework="pt"):  # checks that the header fits the file
        pass
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
    return {
        name: StoredTensor(
            path, DTYPES[entry["dtype"]], tuple(entry["shape"]), 8 + length + entry["data_offsets"][0]
        )
        for name, entry in header.items()
        if name != "__metadata__" and prod(entry["shape"])
    }
