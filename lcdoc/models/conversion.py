"""GGUF files converted once to safetensors, so that every later start is quick.

A conversion is a folder named after the file's hash, the dtype and the versions that wrote it. It
appears by one rename, and is used only while every file in it has the size it was written with.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcdoc.errors import DoesNotFitError, ModelError
from lcdoc.models.filehash import sha256_of
from lcdoc.models.folders import conversions_folder
from lcdoc.models.foreign import quiet_transformers
from lcdoc.models.gguf_header import GgufHeader, read_header
from lcdoc.models.importing import import_transformers

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# Raised whenever a conversion's content changes, so that older ones are made again.
CONVERSION_VERSION = 1
MANIFEST = "conversion.json"

BYTES_PER_WEIGHT = {"bfloat16": 2, "float16": 2, "float32": 4}
# Memory that converting takes, in multiples of the converted weights (measured: 1.4).
CONVERSION_PEAK = 1.5

# Vocabularies that were learned with every digit standing alone; transformers does not split them so.
DIGIT_SPLITTING = {"smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"}


def converted(gguf_path: Path, dtype: str | None = None) -> Path:
    """The folder with the file's conversion, made now where there is none.

    dtype: "bfloat16", "float16" or "float32"; None takes any conversion there is (configuration and
    tokenizer are the same in all). Raises ModelError where the file is damaged or not supported, and
    DoesNotFitError where memory or disk are too small to convert it.
    """
    try:
        prefix = _prefix(gguf_path)
        for candidate in [dtype] if dtype else BYTES_PER_WEIGHT:
            folder = conversions_folder() / f"{prefix}-{candidate}-{_versions()}"
            if is_complete(folder):
                return folder
        dtype = dtype or _best_dtype()
        return _convert(gguf_path, conversions_folder() / f"{prefix}-{dtype}-{_versions()}", dtype)
    except OSError as error:
        raise ModelError(f"{gguf_path}: can't be converted into {conversions_folder()}: {error}") from error


def conversions_of(gguf_path: Path) -> list[Path]:
    """Every conversion of this file, whichever version wrote it."""
    return sorted(conversions_folder().glob(f"{_prefix(gguf_path)}-*"))


def manifest_of(folder: Path) -> dict[str, Any]:
    """What a conversion says of itself: `source`, the GGUF file, and `sizes`, each file's bytes."""
    try:
        content = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def is_complete(folder: Path) -> bool:
    sizes = manifest_of(folder).get("sizes", {})
    try:
        return bool(sizes) and all((folder / name).stat().st_size == size for name, size in sizes.items())
    except OSError:
        return False


def _prefix(gguf_path: Path) -> str:
    return sha256_of(gguf_path)[:32]


def _versions() -> str:
    return f"transformers{version('transformers')}-{CONVERSION_VERSION}"


def _best_dtype() -> str:
    from lcdoc.models.placement import choose_device, choose_dtype, dtype_name

    return dtype_name(choose_dtype("auto", choose_device()))


def _convert(gguf_path: Path, folder: Path, dtype: str) -> Path:
    header = read_header(gguf_path)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _check_room(gguf_path, header.num_weights * BYTES_PER_WEIGHT[dtype], folder.parent)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as scratch:
        made = Path(scratch) / folder.name
        _write(gguf_path, header, made, dtype)
        if folder.exists() and not is_complete(folder):
            folder.rename(Path(scratch) / "broken")
        try:
            made.rename(folder)
        except OSError:
            if not is_complete(folder):  # else another process was first, with the same content
                raise
    return folder


def _check_room(gguf_path: Path, weights_bytes: int, folder: Path) -> None:
    from psutil import virtual_memory

    free_bytes, peak_bytes = shutil.disk_usage(folder).free, int(weights_bytes * CONVERSION_PEAK)
    available_bytes = virtual_memory().available
    if weights_bytes > free_bytes:
        raise DoesNotFitError(
            f"{gguf_path}: converting it takes {weights_bytes / 1e9:.1f} GB of disk, and {folder} has"
            f" {free_bytes / 1e9:.1f} GB free; make room or set LCDOC_HOME to a larger disk"
        )
    if peak_bytes > available_bytes:
        raise DoesNotFitError(
            f"{gguf_path}: converting it takes {peak_bytes / 1e9:.1f} GB of memory, and"
            f" {available_bytes / 1e9:.1f} GB are free; close other programs or take a smaller model"
        )


def _write(gguf_path: Path, header: GgufHeader, folder: Path, dtype: str) -> None:
    import_transformers()
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source, name = gguf_path.parent, gguf_path.name
    with quiet_transformers(f"{gguf_path}: this GGUF file can't be converted"), _parsed_once():
        config = AutoConfig.from_pretrained(source, gguf_file=name, local_files_only=True)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            source,
            config=config,
            gguf_file=name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=getattr(torch, dtype),
            output_loading_info=True,
            local_files_only=True,
        )
        model, report = loaded
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            raise ModelError(f"{gguf_path}: the file lacks {len(missing)} tensors, {missing[0]} the first")
        tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=name, local_files_only=True)
        _split_digits(tokenizer, header.metadata.get("tokenizer.ggml.pre"))
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    _seal(folder, gguf_path)


def _seal(folder: Path, gguf_path: Path) -> None:
    """Gives the files the user's usual permissions, and writes down their sizes."""
    umask = os.umask(0)
    os.umask(umask)
    files = sorted(folder.iterdir())
    for path in files:
        path.chmod(0o666 & ~umask)
    manifest = {"source": str(gguf_path), "sizes": {path.name: path.stat().st_size for path in files}}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


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
    gguf: Any = import_module("gguf")
    legacy: Any = import_module("transformers.modeling_gguf_pytorch_utils")

    reader, name_map, bar = gguf.GGUFReader, gguf.get_tensor_name_map, legacy.tqdm
    gguf.GGUFReader = cache(reader)
    gguf.get_tensor_name_map = cache(name_map)
    legacy.tqdm = partial(bar, disable=True)
    try:
        yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map, legacy.tqdm = reader, name_map, bar
