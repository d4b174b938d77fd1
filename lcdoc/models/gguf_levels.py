"""The four-bit weights of a GGUF file as they are, so that they are not rounded a second time.

https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h
"""

from pathlib import Path

import torch

from lcdoc.models.gguf_header import GgufTensor, read_header
from lcdoc.models.int4_linear import GROUP_SIZE, MIDDLE, Levels

# Bytes of a block of 32 weights before their levels, by what ggml calls its kinds: a float16 step, and a minimum.
Q4_0, Q4_1 = 2, 3
HEAD_BYTES = {Q4_0: 2, Q4_1: 4}

# So many, from the first to the last, tell in which order all of them are.
CHECKED_ROWS = 64

# A converted weight is the same number, rounded once to its own dtype.
ROUNDED = {torch.float32: 1e-6, torch.float16: 2**-11, torch.bfloat16: 2**-8}


class GgufLevels:
    """Finds a file's four-bit tensors by the names that transformers gives to them."""

    def __init__(self, path: Path, head_dim: int) -> None:
        """head_dim: of the model's attention, whose rows some conversions reorder. Raises ModelError."""
        from gguf import MODEL_ARCH_NAMES, get_tensor_name_map

        header = read_header(path)
        architecture = header.metadata["general.architecture"]
        known = next((arch for arch, name in MODEL_ARCH_NAMES.items() if name == architecture), None)
        num_layers = header.metadata.get(f"{architecture}.block_count", 0)
        self._names = None if known is None else get_tensor_name_map(known, num_layers)
        self._path, self._start, self._head_dim = path, header.data_start, head_dim
        self._tensors = {
            tensor.name: tensor
            for tensor in header.tensors
            if tensor.kind in HEAD_BYTES and len(tensor.shape) == 2
        }

    def of(self, name: str, converted: torch.Tensor) -> Levels | None:
        """What the file holds of the tensor that transformers made `converted` of; None where that is something else,
        or in another order than is known here."""
        own = None if self._names is None else self._names.get_name(name, try_suffixes=(".weight",))
        tensor = self._tensors.get(f"{own}.weight")
        if tensor is None or tensor.shape != tuple(converted.shape):
            return None
        stored = self._read(tensor)
        told = torch.linspace(0, len(converted) - 1, CHECKED_ROWS).long()
        wanted = converted.detach()[told.to(converted.device)].cpu().float()
        bound = ROUNDED[converted.dtype] * wanted.abs().max()
        for order in self._orders(len(converted)):
            found = Levels(*(part[order[told]] for part in stored)).weights()
            if (found - wanted).abs().max() <= bound:
                return Levels(*(part[order] for part in stored))
        return None

    def _read(self, tensor: GgufTensor) -> Levels:
        """In the file's order of rows."""
        with self._path.open("rb") as file:
            file.seek(self._start + tensor.offset_bytes)
            content = torch.frombuffer(bytearray(file.read(tensor.size_bytes)), dtype=torch.uint8)
        rows, inputs = tensor.shape
        blocks = content.view(rows, inputs // GROUP_SIZE, -1)
        head_bytes = HEAD_BYTES[tensor.kind]
        codes = blocks[..., head_bytes:]
        levels = torch.cat((codes & 15, codes >> 4), dim=-1).flatten(1)
        numbers = blocks[..., :head_bytes].contiguous().view(torch.float16).float()
        steps = numbers[..., 0]
        offsets = numbers[..., 1] + MIDDLE * steps if tensor.kind == Q4_1 else torch.zeros_like(steps)
        return Levels(levels, steps, offsets)

    def _orders(self, rows: int) -> list[torch.Tensor]:
        """As in the file; and each head's two halves, which a file for some architectures interleaves."""
        plain = torch.arange(rows)
        if rows % self._head_dim:
            return [plain]
        halves = plain.view(-1, self._head_dim // 2, 2).transpose(1, 2).reshape(-1)
        return [plain, halves]
