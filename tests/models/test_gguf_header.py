import random
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from transformers import LlamaForCausalLM

from lcdoc.errors import ModelError
from lcdoc.models.gguf_header import read_header

WriteGguf = Callable[..., Path]
DAMAGED_FILES = 400

TENSOR_COUNT, VALUE_COUNT, FIRST_KEY_LENGTH = 8, 16, 24


def overwritten(path: Path, offset: int, content: bytes) -> Path:
    data = bytearray(path.read_bytes())
    data[offset : offset + len(content)] = content
    path.write_bytes(data)
    return path


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    return message


def test_a_sound_file(tiny_gguf: Path, tiny_model: LlamaForCausalLM) -> None:
    header = read_header(tiny_gguf)
    assert header.metadata["general.architecture"] == "llama"
    assert header.metadata["tokenizer.ggml.tokens"] == tiny_model.config.vocab_size
    assert header.num_weights == sum(parameter.numel() for parameter in tiny_model.parameters())


@pytest.mark.parametrize("content", [b"", b"GGUF", b"not a model at all, but long enough to be read"])
def test_what_is_no_gguf_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(content)
    refusal(path)


def test_a_file_of_the_other_byte_order(tiny_gguf: Path) -> None:
    assert "little-endian" in refusal(overwritten(tiny_gguf, 4, struct.pack(">I", 3)))


@pytest.mark.parametrize("offset", [TENSOR_COUNT, VALUE_COUNT, FIRST_KEY_LENGTH])
@pytest.mark.parametrize("count", [2**20, 2**40, 2**64 - 1])
def test_absurd_counts_cost_no_memory(tiny_gguf: Path, offset: int, count: int) -> None:
    assert "bytes are left" in refusal(overwritten(tiny_gguf, offset, struct.pack("<Q", count)))


def test_a_file_cut_short(tiny_gguf: Path) -> None:
    whole = tiny_gguf.read_bytes()
    for length in range(1, len(whole) - 32, 97):  # the last tensor may be followed by padding
        tiny_gguf.write_bytes(whole[:length])
        refusal(tiny_gguf)


def test_damage_anywhere_is_refused_or_harmless(tiny_gguf: Path) -> None:
    whole, chance = tiny_gguf.read_bytes(), random.Random(0)
    header_bytes = whole.index(b"output_norm.weight") + 200
    refused = 0
    for _ in range(DAMAGED_FILES):
        damaged = bytearray(whole)
        for _ in range(4):
            damaged[chance.randrange(header_bytes)] = chance.randrange(256)
        tiny_gguf.write_bytes(damaged)
        try:
            read_header(tiny_gguf)
        except ModelError:
            refused += 1
    assert refused > DAMAGED_FILES // 10


@pytest.mark.parametrize("layers", [0, 3_000_000_000, 200])
def test_an_impossible_number_of_layers(write_gguf: WriteGguf, layers: int) -> None:
    assert f"{layers} layers can't be" in refusal(write_gguf(layers=layers))


@pytest.mark.parametrize("embedding", [0, 4_000_000_000])
def test_an_impossible_width(write_gguf: WriteGguf, embedding: int) -> None:
    assert f"embedding_length of {embedding:,} can't be" in refusal(write_gguf(embedding=embedding))


def test_a_file_in_parts(write_gguf: WriteGguf) -> None:
    assert "one of 3 parts; join them" in refusal(write_gguf(split_count=3))
