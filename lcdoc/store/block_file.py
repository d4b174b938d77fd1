"""One block as a safetensors file, with a checksum of all its bytes. It is written and read a tensor at a time, so that
no second copy of a block is ever in memory."""

import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

if TYPE_CHECKING:
    import torch

# Where every block's header begins; the checksum's digits follow, which count as zeros in the checksum itself.
BEGINNING = b'{"__metadata__":{"checksum":"'
DIGITS = 64
DTYPES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16", "uint8": "U8"}
NAMES = {short: name for name, short in DTYPES.items()}
MAX_HEADER_BYTES = 64 << 20
PIECE_BYTES = 1 << 20


class DamagedBlock(Exception):
    """A file that is not the block it should be; says in words what is wrong with it."""


def write_block(path: Path, about: Mapping[str, str], tensors: Mapping[str, "torch.Tensor"]) -> None:
    """Writes over the file at the path. Raises OSError."""
    entries: dict[str, Any] = {"__metadata__": {"checksum": "0" * DIGITS, **about}}
    end = 0
    for name, tensor in tensors.items():
        dtype = DTYPES[str(tensor.dtype).removeprefix("torch.")]
        offsets = [end, end := end + tensor.nbytes]
        entries[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": offsets}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    checksum = hashlib.sha256()
    with path.open("wb") as file:
        for piece in _pieces(header, tensors):
            checksum.update(piece)
            file.write(piece)
        file.seek(8 + len(BEGINNING))
        file.write(checksum.hexdigest().encode())


def _pieces(header: bytes, tensors: Mapping[str, "torch.Tensor"]) -> Iterator[bytes | memoryview]:
    import torch

    yield struct.pack("<Q", len(header))
    yield header
    for tensor in tensors.values():
        if tensor.numel():
            flat = tensor.detach().cpu().contiguous().reshape(-1)
            yield flat.view(torch.uint8).numpy().data


class BlockFile(Mapping[str, "torch.Tensor"]):
    """A block that was opened: what it says about itself, and its tensors, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        """Raises OSError, or DamagedBlock where the file does not begin as a block."""
        self._file: BinaryIO = path.open("rb")
        try:
            self._header, entries = _read_header(self._file, path.stat().st_size)
        except BaseException:
            self._file.close()
            raise
        self.about: dict[str, str] = entries.pop("__metadata__")
        self._entries: dict[str, Any] = entries

    def check(self) -> None:
        """Raises DamagedBlock unless every byte is as it was written."""
        first = 8 + len(BEGINNING)
        self._file.seek(0)
        start = self._file.read(first)
        digits = self._file.read(DIGITS)
        checksum = hashlib.sha256(start + b"0" * DIGITS)
        while piece := self._file.read(PIECE_BYTES):
            checksum.update(piece)
        if checksum.hexdigest().encode() != digits:
            raise DamagedBlock("its checksum is wrong")

    def __getitem__(self, name: str) -> "torch.Tensor":
        import torch

        entry = self._entries[name]
        start, stop = entry["data_offsets"]
        dtype = getattr(torch, NAMES[entry["dtype"]])
        if start == stop:
            return torch.empty(entry["shape"], dtype=dtype)
        data = bytearray(stop - start)
        self._file.seek(self._header + start)
        if self._file.readinto(data) != len(data):  # type: ignore[attr-defined]
            raise DamagedBlock("it is cut short")
        return torch.frombuffer(data, dtype=dtype).view(entry["shape"])

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __enter__(self) -> "BlockFile":
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()


def _read_header(file: BinaryIO, size_bytes: int) -> tuple[int, dict[str, Any]]:
    """Where the tensors begin, and the header's entries."""
    length = int.from_bytes(file.read(8), "little")
    if not len(BEGINNING) < length <= MAX_HEADER_BYTES:
        raise DamagedBlock("it is no block of lcdoc's")
    header = file.read(length)
    if not header.startswith(BEGINNING):
        raise DamagedBlock("it is no block of lcdoc's")
    try:
        entries = json.loads(header)
        stops = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise DamagedBlock("its header can't be read") from error
    if size_bytes < 8 + length + max(stops, default=0):
        raise DamagedBlock("it is cut short")
    return 8 + length, entries
