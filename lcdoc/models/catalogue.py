"""What models there are, which are on this machine, and removing them."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from lcdoc.errors import ModelError
from lcdoc.models.conversion import conversions_of, manifest_of
from lcdoc.models.folders import conversions_folder
from lcdoc.models.packaged import PACKAGED_MODELS, PackagedModel


@dataclass(frozen=True)
class ModelEntry:
    """One model that can be named.

    source: "package", "hub" (the hub's cache, shared with other programs) or "file" (a .gguf file of the
    user's, named by its path; only its conversions belong to lcdoc). pulled: whether it is on this machine.
    size_bytes: what removing it frees; of a model not pulled, what pulling it takes. paths: the folders
    that removing it deletes.
    """

    name: str
    source: str
    description: str
    license: str | None
    pulled: bool
    size_bytes: int
    paths: tuple[Path, ...]


def list_models() -> list[ModelEntry]:
    """The models lcdoc knows by name, then those of the hub and the converted files on this machine."""
    packaged = [_packaged_entry(model) for model in PACKAGED_MODELS.values()]
    taken = {path for entry in packaged for path in entry.paths}
    return packaged + _hub_entries() + _file_entries(taken)


def show(name: str) -> ModelEntry:
    """One model's entry; raises ModelError for an unknown name."""
    entries = {entry.name: entry for entry in list_models()}
    if name not in entries:
        raise ModelError(f"unknown model {name!r}; there are: {', '.join(entries)}")
    return entries[name]


def remove(name: str) -> ModelEntry:
    """Deletes a model's files and conversions; returns what it was. Raises ModelError where it isn't here."""
    entry = show(name)
    if not entry.pulled:
        raise ModelError(f"the model {name} is not on this machine")
    try:
        for path in entry.paths:
            shutil.rmtree(path)
    except OSError as error:
        raise ModelError(f"the model {name} can't be removed: {error}") from error
    return entry


def _packaged_entry(model: PackagedModel) -> ModelEntry:
    pulled = model.path.is_file()
    paths = (model.path.parent, *conversions_of(model.path)) if pulled else ()
    size_bytes = sum(_size_bytes(path) for path in paths) if pulled else model.file_bytes
    return ModelEntry(model.name, "package", model.description, model.license, pulled, size_bytes, paths)


def _hub_entries() -> list[ModelEntry]:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        repositories = scan_cache_dir().repos
    except CacheNotFound:
        return []
    return [
        ModelEntry(repo.repo_id, "hub", "", None, True, repo.size_on_disk, (repo.repo_path,))
        for repo in sorted(repositories, key=lambda repo: repo.repo_id)
        if repo.repo_type == "model"
    ]


def _file_entries(taken: set[Path]) -> list[ModelEntry]:
    """Converted files, but not those in `taken`."""
    folders: dict[str, list[Path]] = {}
    for path in sorted(conversions_folder().glob("*")):
        source = manifest_of(path).get("source")
        if source and path not in taken:
            folders.setdefault(source, []).append(path)
    return [
        ModelEntry(
            source, "file", "converted GGUF file", None, True, sum(map(_size_bytes, paths)), tuple(paths)
        )
        for source, paths in folders.items()
    ]


def _size_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
