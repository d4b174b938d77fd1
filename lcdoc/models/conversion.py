"""GGUF files converted once to safetensors, so that every later start is quick.

A conversion is a folder named after the file's hash, the dtype and the versions that wrote it. It
appears by one rename, and is used only while every file in it has the size it was written with.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from lcdoc.errors import ModelError
from lcdoc.models.filehash import sha256_of
from lcdoc.models.folders import conversions_folder
from lcdoc.models.gguf_header import GgufHeader, read_header
from lcdoc.models.placement import DTYPES, choose_device, choose_dtype
from lcdoc.models.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Raised whenever a conversion's content changes, so that older ones are made again.
CONVERSION_VERSION = 1
MANIFEST = "conversion.json"

# Vocabularies that were learned with every digit standing alone; transformers does not split them so.
DIGIT_SPLITTING = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}


def converted(gguf_path: Path, dtype: str | None = None) -> Path:
    """The folder with the file's conversion, made now where there is none.

    dtype: "bfloat16", "float16" or "float32"; None takes any conversion there is (configuration and
    tokenizer are the same in all). Raises ModelError where the file is damaged or not supported.
    """
    file_hash = sha256_of(gguf_path)
    for candidate in [dtype] if dtype else DTYPES:
        folder = _folder(file_hash, candidate)
        if _is_complete(folder):
            return folder
    if dtype is None:
        dtype = str(choose_dtype("auto", choose_device())).removeprefix("torch.")
    return _convert(gguf_path, _folder(file_hash, dtype), dtype)


def conversions_of(gguf_path: Path) -> list[Path]:
    """Every conversion of this file, whichever version wrote it."""
    return sorted(conversions_folder().glob(f"{sha256_of(gguf_path)[:32]}-*"))


def _folder(file_hash: str, dtype: str) -> Path:
    return conversions_folder() / (
        f"{file_hash[:32]}-{dtype}-transformers{version('transformers')}-{CONVERSION_VERSION}"
    )


def _is_complete(folder: Path) -> bool:
    try:
        sizes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def _convert(gguf_path: Path, folder: Path, dtype: str) -> Path:
    header = read_header(gguf_path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as scratch:
        made = Path(scratch) / folder.name
        try:
            _write(gguf_path, header, made, dtype)
        except ModelError:
            raise
        except Exception as error:  # a foreign parser on a file of the user's: it may fail in any way
            reason = " ".join(str(error).split()) or type(error).__name__
            raise ModelError(f"{gguf_path}: this GGUF file can't be converted: {reason}") from error
        if folder.exists() and not _is_complete(folder):
            folder.rename(Path(scratch) / "broken")
        try:
            made.rename(folder)
        except OSError:
            if not _is_complete(folder):  # else another process was first, with the same content
                raise
    return folder


def _write(gguf_path: Path, header: GgufHeader, folder: Path, dtype: str) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, name = gguf_path.parent, gguf_path.name
    with quiet_transformers(), _parsed_once():
        config = AutoConfig.from_pretrained(source, gguf_file=name, local_files_only=True)
        model, report = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            gguf_file=name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            local_files_only=True,
        )
        if report["missing_keys"]:
            raise ModelError(
                f"{gguf_path}: tensors are missing, {sorted(report['missing_keys'])[0]} the first"
            )
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name, local_files_only=True)
        _split_digits(tokenizer, header.metadata.get("tokenizer.ggml.pre"))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    umask = os.umask(0)
    os.umask(umask)
    sizes = {}
    for path in sorted(folder.iterdir()):
        path.chmod(0o666 & ~umask)
        sizes[path.name] = path.stat().st_size
    (folder / MANIFEST).write_text(json.dumps(sizes, indent=1), encoding="utf-8")


def _split_digits(tokenizer: "PreTrainedTokenizerBase", vocabulary: str | None) -> None:
    """Splits text as the vocabulary was learned, where transformers leaves that out."""
    if vocabulary in DIGIT_SPLITTING:
        from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

        tokenizer.backend_tokenizer.pre_tokenizer = Sequence(
            [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
        )


@contextmanager
def _parsed_once() -> Iterator[None]:
    """Inside, a GGUF file's header is parsed once and not once per caller; transformers asks many times."""
    import gguf
    import transformers.modeling_gguf_pytorch_utils as legacy

    reader, name_map, bar = gguf.GGUFReader, gguf.get_tensor_name_map, legacy.tqdm
    gguf.GGUFReader = cache(reader)
    gguf.get_tensor_name_map = cache(name_map)
    legacy.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map, legacy.tqdm = reader, name_map, bar
