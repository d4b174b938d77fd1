import json
import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import gguf
import pytest
import torch
import transformers.modeling_gguf_pytorch_utils as legacy
from safetensors import safe_open
from transformers import LlamaForCausalLM

from lcdoc.errors import DoesNotFitError, ModelError
from lcdoc.models import conversion, load_config, load_model, load_tokenizer, resolve
from lcdoc.models.conversion import conversions_of, converted, is_complete
from lcdoc.models.folders import conversions_folder

WriteGguf = Callable[..., Path]

pytestmark = pytest.mark.usefixtures("empty_home")


@pytest.fixture
def never_written(monkeypatch: pytest.MonkeyPatch) -> None:
    def write(*arguments: object) -> None:
        raise AssertionError("converted again")

    monkeypatch.setattr(conversion, "_write", write)


def leftovers() -> list[Path]:
    return [path for path in conversions_folder().glob(".*")]


def test_it_is_the_same_model(tiny_gguf: Path, tiny_model: LlamaForCausalLM) -> None:
    model = load_model(resolve(str(tiny_gguf)), device="cpu", dtype="float32", attn_implementation="sdpa")
    token_ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.equal(model(token_ids).logits, tiny_model(token_ids).logits)


def test_its_configuration_and_tokenizer(tiny_gguf: Path) -> None:
    files = resolve(str(tiny_gguf))
    config, tokenizer = load_config(files), load_tokenizer(files)
    assert (config.model_type, config.num_hidden_layers, config.max_position_embeddings) == ("llama", 2, 128)
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False) == "hi"
    assert tokenizer.decode(tokenizer("a漢\u0301 12  3").input_ids) == "a漢\u0301 12  3"


def test_digits_stand_alone_only_where_learned_so(write_gguf: WriteGguf) -> None:
    def pieces(vocabulary: str) -> list[str]:
        tokenizer = load_tokenizer(resolve(str(write_gguf(f"{vocabulary}.gguf", vocabulary=vocabulary))))
        return [piece for piece, _ in tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("x  12")]

    assert pieces("smollm") == ["x", "ĠĠ", "1", "2"]
    assert pieces("gpt-2") == ["x", "Ġ", "Ġ12"]


@pytest.mark.usefixtures("never_written")
def test_a_file_is_refused_before_anything_is_written(tiny_gguf: Path) -> None:
    tiny_gguf.write_bytes(tiny_gguf.read_bytes()[:-4096])
    with pytest.raises(ModelError, match="cut short"):
        converted(tiny_gguf)


def test_the_second_time_nothing_is_written(tiny_gguf: Path, request: pytest.FixtureRequest) -> None:
    folder = converted(tiny_gguf, "float32")
    request.getfixturevalue("never_written")
    assert converted(tiny_gguf, "float32") == folder
    assert converted(tiny_gguf) == folder  # any dtype will do for configuration and tokenizer
    moved = tiny_gguf.rename(tiny_gguf.with_name("moved.gguf"))
    assert converted(moved, "float32") == folder  # known by its content


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_weights_are_stored_as_asked(tiny_gguf: Path, dtype: str) -> None:
    with safe_open(converted(tiny_gguf, dtype) / "model.safetensors", "pt") as weights:
        assert {weights.get_tensor(name).dtype for name in weights.keys()} == {getattr(torch, dtype)}  # noqa: SIM118


def test_another_content_is_another_conversion(write_gguf: WriteGguf) -> None:
    first = converted(write_gguf("first.gguf"), "float32")
    assert converted(write_gguf("second.gguf", vocabulary="gpt-2"), "float32") != first


def truncate_weights(folder: Path) -> None:
    os.truncate(folder / "model.safetensors", 1000)


def remove_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def break_manifest(folder: Path) -> None:
    (folder / "conversion.json").write_text("[1", encoding="utf-8")


def empty_folder(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("damage", [truncate_weights, remove_tokenizer, break_manifest, empty_folder])
def test_a_broken_conversion_is_made_again(tiny_gguf: Path, damage: Callable[[Path], None]) -> None:
    folder = converted(tiny_gguf, "float32")
    sizes = json.loads((folder / "conversion.json").read_text(encoding="utf-8"))["sizes"]
    damage(folder)
    assert not is_complete(folder)
    assert converted(tiny_gguf, "float32") == folder
    assert {path.name: path.stat().st_size for path in folder.iterdir() if path.name in sizes} == sizes
    assert leftovers() == []


def test_an_interrupted_conversion_leaves_nothing(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(LlamaForCausalLM, "save_pretrained", interrupt)
        converted(tiny_gguf, "float32")
    assert list(conversions_folder().iterdir()) == []
    assert is_complete(converted(tiny_gguf, "float32"))


def test_who_comes_second_takes_what_is_there(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = conversion._write

    def write_while_another_finishes(*arguments: object) -> None:
        monkeypatch.setattr(conversion, "_write", write)
        converted(tiny_gguf, "float32")
        write(*arguments)

    monkeypatch.setattr(conversion, "_write", write_while_another_finishes)
    assert is_complete(converted(tiny_gguf, "float32"))
    assert leftovers() == []


def test_files_are_as_open_as_others_of_the_user(tiny_gguf: Path) -> None:
    (tiny_gguf.parent / "usual").touch()
    usual = (tiny_gguf.parent / "usual").stat().st_mode
    assert {path.stat().st_mode for path in converted(tiny_gguf).iterdir()} == {usual}


@pytest.mark.parametrize("architecture", ["llama", "bert"])
def test_the_parser_is_as_before(write_gguf: WriteGguf, architecture: str) -> None:
    before = gguf.GGUFReader, gguf.get_tensor_name_map, legacy.tqdm
    path = write_gguf(architecture=architecture)
    try:
        converted(path, "float32")
    except ModelError:
        assert architecture == "bert"
    assert (gguf.GGUFReader, gguf.get_tensor_name_map, legacy.tqdm) == before


@pytest.mark.parametrize("architecture", ["bert", "nonsense"])
def test_an_unsupported_architecture(write_gguf: WriteGguf, architecture: str) -> None:
    with pytest.raises(ModelError, match=f"can't be converted: .*{architecture}") as caught:
        converted(write_gguf(architecture=architecture))
    assert "\n" not in str(caught.value)
    assert leftovers() == []


@pytest.mark.parametrize("tensor", ["token_embd.weight", "blk.1.ffn_up.weight", "output_norm.weight"])
def test_a_missing_tensor(write_gguf: WriteGguf, tensor: str) -> None:
    with pytest.raises(ModelError, match="the file lacks [12] tensors"):
        converted(write_gguf(leave_out=tensor), "float32")


def test_a_wrong_width(write_gguf: WriteGguf) -> None:
    with pytest.raises(ModelError, match="can't be converted"):
        converted(write_gguf(embedding=64), "float32")


def test_too_little_disk(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(1000))
    with pytest.raises(DoesNotFitError, match=r"of disk, and .* has 0.0 GB free"):
        converted(tiny_gguf, "float32")


def test_too_little_memory(tiny_gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = namedtuple("memory", "available")
    monkeypatch.setattr("psutil.virtual_memory", lambda: memory(1000))
    with pytest.raises(DoesNotFitError, match="of memory"):
        converted(tiny_gguf, "float32")


def test_a_home_that_is_a_file(tiny_gguf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("LCDOC_HOME", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="can't be converted into"):
        converted(tiny_gguf)


def test_it_says_nothing(tiny_gguf: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    load_model(resolve(str(tiny_gguf)), device="cpu", attn_implementation="sdpa")
    assert capfd.readouterr() == ("", "")


def test_conversions_of_a_file(tiny_gguf: Path) -> None:
    made = {converted(tiny_gguf, dtype) for dtype in ("float32", "bfloat16")}
    assert set(conversions_of(tiny_gguf)) == made
