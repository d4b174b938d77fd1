"""From what the user calls a model to the files that hold it. Nothing here opens a socket."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from lcdoc.errors import ModelError
from lcdoc.models.packaged import DEFAULT_MODEL, PACKAGED_MODELS

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
WEIGHTS_FILE = "model.safetensors"
WEIGHTS_INDEX = "model.safetensors.index.json"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt")


@dataclass(frozen=True)
class ModelFiles:
    """A model on this machine.

    name: what the model is called in results. path: a folder with config.json and safetensors,
    or one GGUF file.
    """

    name: str
    path: Path

    @property
    def is_gguf(self) -> bool:
        return self.path.is_file()


def resolve(name: str | None = None) -> ModelFiles:
    """Finds a model: a known name, a folder, a .gguf file, or a hub id that was pulled before.

    None is the default model. Raises ModelError where nothing usable is found.
    """
    wanted = DEFAULT_MODEL.name if name is None else name
    if wanted in PACKAGED_MODELS:
        return _packaged(wanted)
    path = _existing_path(wanted)
    if path and path.is_dir():
        check_folder(path, wanted)
        folder = path.resolve()
        return ModelFiles(folder.name, folder)
    if path:
        if path.suffix.lower() != ".gguf":
            raise ModelError(f"{wanted}: not a model; name a .gguf file or a folder with safetensors")
        return ModelFiles(path.stem, path)
    if wanted.lower().endswith(".gguf"):
        raise ModelError(f"{wanted}: no such file")
    if HUB_ID.fullmatch(wanted):
        return _hub_model(wanted)
    known = ", ".join(PACKAGED_MODELS)
    raise ModelError(f"unknown model {wanted!r}; name {known}, a hub id, a folder or a .gguf file")


def check_folder(folder: Path, name: str) -> None:
    """Raises ModelError unless the folder holds config.json and every safetensors file it needs."""
    if not (folder / "config.json").is_file():
        ggufs = sorted(folder.glob("*.gguf"))
        hint = f"name the file {ggufs[0]}" if ggufs else "a model folder has one"
        raise ModelError(f"{name}: no config.json in this folder; {hint}")
    if (folder / WEIGHTS_INDEX).is_file():
        missing = [shard for shard in _shards(folder / WEIGHTS_INDEX, name) if not (folder / shard).is_file()]
        if missing:
            raise ModelError(f"{name}: {len(missing)} weight files are missing, {missing[0]} the first")
    elif not (folder / WEIGHTS_FILE).is_file():
        if any(next(folder.glob(pattern), None) for pattern in PICKLES):
            raise ModelError(f"{name}: only pickled weights, which can run code; safetensors are needed")
        raise ModelError(f"{name}: no {WEIGHTS_FILE} in this folder")


def _shards(index: Path, name: str) -> list[str]:
    """The names of the weight files, all in the folder of their index."""
    try:
        shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if shards and all(Path(shard).name == shard for shard in shards):
            return shards
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{name}: {index.name} is not a valid index of weights") from error
    raise ModelError(f"{name}: {index.name} is not a valid index: it names no files of this folder")


def _existing_path(name: str) -> Path | None:
    """The file or folder of this name; None where there is none, or where no path can be so called."""
    try:
        path = Path(name).expanduser().absolute()
        return path if name and path.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None


def _packaged(name: str) -> ModelFiles:
    path = PACKAGED_MODELS[name].path
    if not path.is_file():
        raise ModelError(f"the model {name} is not on this machine; get it with: lcdoc models pull")
    return ModelFiles(name, path)


def _hub_model(hub_id: str) -> ModelFiles:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError) as error:
        raise ModelError(
            f"the model {hub_id} is not on this machine; get it with: lcdoc models pull {hub_id}"
        ) from error
    check_folder(folder, hub_id)
    return ModelFiles(hub_id, folder)
