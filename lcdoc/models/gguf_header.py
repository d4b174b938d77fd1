"""A GGUF file's header, checked against the file's own size before anything believes it.

https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from lcdoc.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
STRING, ARRAY = 8, 9
MAX_DIMENSIONS = 4
MAX_LAYERS = 4096
DEFAULT_ALIGNMENT = 32


@dataclass(frozen=True)
class GgufHeader:
    """metadata: every single value by its key, and the length of every array. data_start: the first byte of the
    tensors."""

    metadata: dict[str, Any]
    tensors: tuple["GgufTensor", ...]
    data_start: int

    @property
    def num_weights(self) -> int:
        return sum(tensor.num_weights for tensor in self.tensors)


@dataclass(frozen=True)
class GgufTensor:
    """One tensor as the header lists it; offset_bytes counts from the start of the data. kind: how ggml stores it, a
    number of GGMLQuantizationType. shape: rows first, as PyTorch has it."""

    name: str
    kind: int
    shape: tuple[int, ...]
    offset_bytes: int
    size_bytes: int

    @property
    def num_weights(self) -> int:
        return prod(self.shape)


def read_header(path: Path) -> GgufHeader:
    """Walks the whole header; raises ModelError where a size in it does not fit the file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return _Walk(path, content).header()
    except (OSError, ValueError) as error:  # mmap refuses an empty file with a ValueError
        raise ModelError(f"{path}: not a readable GGUF file: {error}") from error


class _Walk:
    """One pass over the header, at `position`."""

    def __init__(self, path: Path, content: mmap.mmap) -> None:
        self.path, self.content, self.position = path, content, 0
        self.size_bytes = len(content)

    def header(self) -> GgufHeader:
        if self.take(4) != MAGIC:
            raise self.broken("it does not begin with 'GGUF'")
        version = self.number("I")
        if version not in VERSIONS:
            raise self.broken(f"version {version} is not supported, only 2 and 3 in little-endian order")
        num_tensors, num_values = self.number("Q"), self.number("Q")
        self.expect(num_values, least_bytes_each=13)
        self.expect(num_tensors, least_bytes_each=24)
        metadata: dict[str, Any] = {}
        for _ in range(num_values):
            key = self.text()
            metadata[key] = self.value(self.number("I"))
        tensors = [self.tensor() for _ in range(num_tensors)]
        start = self.check_tensors(tensors, metadata.get("general.alignment", DEFAULT_ALIGNMENT))
        self.check_metadata(metadata, num_tensors)
        return GgufHeader(metadata, tuple(tensors), start)

    def tensor(self) -> GgufTensor:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        name, num_dimensions = self.text(), self.number("I")
        if num_dimensions > MAX_DIMENSIONS:
            raise self.broken(
                f"tensor {name!r} has {num_dimensions} dimensions, at most {MAX_DIMENSIONS} are allowed"
            )
        shape = tuple(self.number("Q") for _ in range(num_dimensions))[::-1]
        kind, offset = self.number("I"), self.number("Q")
        try:
            block_elements, block_bytes = GGML_QUANT_SIZES[GGMLQuantizationType(kind)]
        except (ValueError, KeyError):
            raise self.broken(f"tensor {name!r} is of the unknown type {kind}") from None
        return GgufTensor(name, kind, shape, offset, prod(shape) // block_elements * block_bytes)

    def check_tensors(self, tensors: list[GgufTensor], alignment: Any) -> int:
        """Returns where their data begins."""
        if not isinstance(alignment, int) or alignment < 1 or alignment & (alignment - 1):
            raise self.broken(f"an alignment of {alignment!r} is not a power of two")
        start = -(-self.position // alignment) * alignment
        for tensor in tensors:
            if start + tensor.offset_bytes + tensor.size_bytes > self.size_bytes:
                raise self.broken(f"{tensor.name} ends beyond its {self.size_bytes:,} bytes; it is cut short")
        return start

    def check_metadata(self, metadata: dict[str, Any], num_tensors: int) -> None:
        architecture = metadata.get("general.architecture")
        if not isinstance(architecture, str):
            raise self.broken("it names no architecture")
        if metadata.get("split.count", 1) > 1:
            raise self.broken(f"it is one of {metadata['split.count']} parts; join them into one file first")
        layers = metadata.get(f"{architecture}.block_count", 0)
        if not isinstance(layers, int) or not 0 < layers <= min(MAX_LAYERS, num_tensors):
            raise self.broken(f"{layers!r} layers can't be, with {num_tensors:,} tensors")
        # A model's dimensions are all spelled out by its weights, which were found to fit the file.
        for name in ("embedding_length", "feed_forward_length", "attention.head_count", "vocab_size"):
            length = metadata.get(f"{architecture}.{name}", 1)
            if isinstance(length, int) and not 0 < length <= self.size_bytes:
                raise self.broken(f"{architecture}.{name} of {length:,} can't be")

    def value(self, kind: int) -> Any:
        """The next value; of an array, its length."""
        if kind in SCALARS:
            return self.number(SCALARS[kind])
        if kind == STRING:
            return self.text()
        if kind != ARRAY:
            raise self.broken(f"a value of the unknown type {kind}")
        element, length = self.number("I"), self.number("Q")
        if element in SCALARS:
            self.take(length * struct.calcsize("<" + SCALARS[element]))
        elif element == STRING:
            self.expect(length, least_bytes_each=8)
            for _ in range(length):
                self.take(self.number("Q"))
        else:
            raise self.broken(f"an array of the unknown type {element}")
        return length

    def text(self) -> str:
        try:
            return self.take(self.number("Q")).decode("utf-8")
        except UnicodeDecodeError:
            raise self.broken("a name in it is not UTF-8") from None

    def number(self, code: str) -> Any:
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def take(self, num_bytes: int) -> bytes:
        self.expect(num_bytes, least_bytes_each=1)
        self.position += num_bytes
        return self.content[self.position - num_bytes : self.position]

    def expect(self, count: int, least_bytes_each: int) -> None:
        left_bytes = self.size_bytes - self.position
        if count * least_bytes_each > left_bytes:
            raise self.broken(
                f"its header asks for {count:,} more items or bytes, {left_bytes:,} bytes are left"
            )

    def broken(self, reason: str) -> ModelError:
        return ModelError(f"{self.path}: this GGUF file can't be used: {reason}")
