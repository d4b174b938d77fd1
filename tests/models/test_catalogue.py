from pathlib import Path

import pytest

from lcdoc.errors import ModelError
from lcdoc.models import DEFAULT_MODEL, list_models, remove, resolve, show
from lcdoc.models.conversion import converted
from lcdoc.models.folders import conversions_folder


@pytest.mark.usefixtures("empty_home")
def test_before_anything_is_pulled() -> None:
    (entry,) = list_models()
    assert (entry.name, entry.pulled, entry.source) == ("smollm2-135m-instruct", False, "package")
    assert (entry.license, entry.size_bytes, entry.paths) == ("Apache-2.0", DEFAULT_MODEL.file_bytes, ())
    with pytest.raises(ModelError, match="the model smollm2-135m-instruct is not on this machine"):
        remove(entry.name)


@pytest.mark.model
def test_the_default_model_goes_with_its_conversions() -> None:
    entry = show(DEFAULT_MODEL.name)
    assert entry.pulled
    assert entry.size_bytes > 3 * DEFAULT_MODEL.file_bytes
    assert remove(DEFAULT_MODEL.name) == entry
    assert not any(path.exists() for path in entry.paths)
    assert list(conversions_folder().iterdir()) == []
    with pytest.raises(ModelError, match="lcdoc models pull"):
        resolve()


@pytest.mark.usefixtures("empty_home")
def test_a_converted_file_of_the_users_keeps_the_file(tiny_gguf: Path) -> None:
    folders = {converted(tiny_gguf, "float32"), converted(tiny_gguf, "bfloat16")}
    entry = show(str(tiny_gguf))
    assert (entry.source, set(entry.paths)) == ("file", folders)
    assert entry.size_bytes == sum(path.stat().st_size for folder in folders for path in folder.iterdir())
    remove(str(tiny_gguf))
    assert tiny_gguf.exists()
    assert not any(folder.exists() for folder in folders)


@pytest.mark.usefixtures("empty_home")
def test_a_model_of_the_hub(hub_model: Path) -> None:
    entry = show("someone/tiny")
    assert (entry.source, entry.pulled, entry.paths) == ("hub", True, (hub_model.parents[1],))
    remove("someone/tiny")
    assert not hub_model.exists()
    with pytest.raises(ModelError, match="lcdoc models pull someone/tiny"):
        resolve("someone/tiny")


@pytest.mark.usefixtures("empty_home")
@pytest.mark.parametrize("act", [show, remove])
def test_an_unknown_name(act: object) -> None:
    with pytest.raises(ModelError, match="unknown model 'nonsense'; there are: smollm2-135m-instruct"):
        act("nonsense")
