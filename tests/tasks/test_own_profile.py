"""The profile that belongs to a model is found by itself."""

from pathlib import Path

import pytest
import yaml

from lcdoc.config import ReadSettings
from lcdoc.models import resolve
from lcdoc.models.filehash import hash_file
from lcdoc.models.folders import profiles_folder
from lcdoc.tasks.own_profile import own_profile, with_own_profile


@pytest.fixture
def files(tmp_path: Path):
    folder = tmp_path / "My-Model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return resolve(str(folder))


def keep(name: str, **measured: str) -> str:
    profiles_folder().mkdir(parents=True, exist_ok=True)
    path = profiles_folder() / f"{name}.yaml"
    content = {"model": name, "gates": [[0.1, 0.9]], "sink_size": 4, "recent_size": 8, "source": "test"}
    path.write_text(yaml.safe_dump({**content, "measured": measured} if measured else content))
    return str(path)


def test_a_calibration_of_these_weights_is_used(files) -> None:
    assert own_profile(files) is None
    path = keep("my-model", model_sha256=hash_file(files.path / "model.safetensors"))
    assert with_own_profile(ReadSettings(), files).profile == path
    assert with_own_profile(ReadSettings(mode="duo"), files).profile == path


def test_one_of_other_weights_is_not(files) -> None:
    keep("my-model", model_sha256="0" * 64)
    assert own_profile(files) is None


def test_shipped_profiles_go_by_the_models_name(tmp_path: Path) -> None:
    folder = tmp_path / "Mistral-7B-Instruct-v0.2"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    assert Path(own_profile(resolve(str(folder)))).name == "mistral-7b-instruct-v0.2.yaml"


def test_what_the_user_says_comes_first(files) -> None:
    keep("my-model")
    for settings in (
        ReadSettings(profile="other.yaml"),
        ReadSettings(mode="exact"),
        ReadSettings(mode="stream"),
    ):
        assert with_own_profile(settings, files) == settings
    assert with_own_profile(ReadSettings(profile="none"), files).profile is None
    assert with_own_profile(ReadSettings(), None).profile is None
