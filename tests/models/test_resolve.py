from pathlib import Path

import pytest

from lcdoc.errors import ModelError
from lcdoc.models import DEFAULT_MODEL, ModelFiles, resolve


@pytest.mark.model
@pytest.mark.parametrize("name", [None, DEFAULT_MODEL.name])
def test_the_default_model(name: str | None) -> None:
    files = resolve(name)
    assert files == ModelFiles("smollm2-135m-instruct", DEFAULT_MODEL.path)
    assert files.is_gguf


@pytest.mark.usefixtures("empty_home")
def test_a_missing_default_model_names_the_command() -> None:
    with pytest.raises(ModelError) as caught:
        resolve()
    assert str(caught.value) == (
        "the model smollm2-135m-instruct is not on this machine; get it with: lcdoc models pull"
    )


def test_a_folder(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve(str(tiny_folder)) == ModelFiles("tiny-llama", tiny_folder)
    monkeypatch.chdir(tiny_folder)
    assert resolve(".") == ModelFiles("tiny-llama", tiny_folder)


def test_a_gguf_file(tiny_gguf: Path) -> None:
    assert resolve(str(tiny_gguf)) == ModelFiles("tiny", tiny_gguf)


def test_a_gguf_file_behind_a_link(tiny_gguf: Path, tmp_path: Path) -> None:
    link = tmp_path / "linked.gguf"
    link.symlink_to(tiny_gguf.rename(tmp_path / "blob-without-suffix"))
    assert resolve(str(link)) == ModelFiles("linked", link)


def test_a_folder_of_pickles_is_refused(tiny_folder: Path) -> None:
    (tiny_folder / "model.safetensors").rename(tiny_folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickled weights, which can run code"):
        resolve(str(tiny_folder))


def test_a_folder_without_weights_is_refused(tiny_folder: Path) -> None:
    (tiny_folder / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no model.safetensors in this folder"):
        resolve(str(tiny_folder))


def test_missing_shards_are_named(tiny_folder: Path) -> None:
    (tiny_folder / "model.safetensors").unlink()
    index = '{"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}'
    (tiny_folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    with pytest.raises(ModelError, match="2 weight files are missing, model-1-of-2.safetensors the first"):
        resolve(str(tiny_folder))


@pytest.mark.parametrize("index", ["", "[]", '{"weight_map": 3}', '{"weight_map": {"a": {}}}', "\x80"])
def test_a_broken_index_is_refused(tiny_folder: Path, index: str) -> None:
    (tiny_folder / "model.safetensors.index.json").write_text(index, encoding="latin-1")
    with pytest.raises(ModelError, match="not a valid index"):
        resolve(str(tiny_folder))


def test_an_index_pointing_outside_is_refused(tiny_folder: Path) -> None:
    index = '{"weight_map": {"a": "../elsewhere.safetensors"}}'
    (tiny_folder / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    (tiny_folder.parent / "elsewhere.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match="not a valid index"):
        resolve(str(tiny_folder))


def test_a_folder_with_a_gguf_file_points_at_it(tiny_gguf: Path) -> None:
    with pytest.raises(ModelError, match="name the file .*tiny.gguf"):
        resolve(str(tiny_gguf.parent))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "nonsense",
            "unknown model 'nonsense'; name smollm2-135m-instruct, a hub id, a folder or a .gguf file",
        ),
        ("", "unknown model ''"),
        ("missing/model.gguf", "missing/model.gguf: no such file"),
        ("someone/not-here", "not on this machine; get it with: lcdoc models pull someone/not-here"),
        ("../x/y", "unknown model"),
        ("someone/not--valid", "not on this machine"),
        ("~nobody-by-this-name/x", "unknown model"),
        ("x" * 5000, "unknown model"),
        ("nul\0", "unknown model"),
        (__file__, "not a model"),
    ],
)
def test_what_is_no_model(name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        resolve(name)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_hub_id_in_the_cache(hub_model: Path) -> None:
    assert resolve("someone/tiny") == ModelFiles("someone/tiny", hub_model)


def test_an_incomplete_download_is_refused(hub_model: Path) -> None:
    (hub_model / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="someone/tiny: no model.safetensors"):
        resolve("someone/tiny")
