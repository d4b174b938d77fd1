import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, LlamaForCausalLM

from lcdoc.errors import DoesNotFitError, ModelError
from lcdoc.models import load_config, load_model, load_tokenizer, resolve
from lcdoc.models.conversion import converted
from lcdoc.models.placement import choose_device, choose_dtype
from lcdoc.models.support import supported_class


def load(folder: Path, **options: Any) -> Any:
    return load_model(resolve(str(folder)), **{"device": "cpu", "attn_implementation": "sdpa"} | options)


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | changes), encoding="utf-8")


def one_line(caught: pytest.ExceptionInfo[ModelError]) -> str:
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_a_folder_is_loaded_ready_to_read(tiny_folder: Path, tiny_model: LlamaForCausalLM) -> None:
    model = load(tiny_folder, dtype="float32")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    token_ids = torch.arange(3, 40)[None]
    assert torch.equal(model(token_ids).logits, tiny_model(token_ids).logits)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_the_dtype_asked_for(tiny_folder: Path, dtype: str) -> None:
    assert load(tiny_folder, dtype=dtype).dtype == getattr(torch, dtype)


def test_the_attention_asked_for(tiny_folder: Path) -> None:
    assert load(tiny_folder, attn_implementation="eager").config._attn_implementation == "eager"


def test_the_tokenizer_knows_where_tokens_lie(tiny_folder: Path) -> None:
    encoding = load_tokenizer(resolve(str(tiny_folder)))("a b", return_offsets_mapping=True)
    assert encoding["offset_mapping"] == [(0, 1), (1, 2), (2, 3)]


def test_nothing_is_said(tiny_folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    load_tokenizer(resolve(str(tiny_folder)))
    load(tiny_folder)
    assert capfd.readouterr() == ("", "")


def test_transformers_speaks_as_before(tiny_folder: Path) -> None:
    from transformers.utils import logging

    before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    load(tiny_folder)
    (tiny_folder / "model.safetensors").write_bytes(b"")
    with pytest.raises(ModelError):
        load(tiny_folder)
    assert (logging.get_verbosity(), logging.is_progress_bar_enabled()) == before


def test_downloaded_code_is_never_run(tiny_folder: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    code = f"open({str(ran)!r}, 'w')"
    for name in ("configuration_x.py", "modeling_x.py", "tokenization_x.py"):
        (tiny_folder / name).write_text(code, encoding="utf-8")
    auto_map = {"AutoConfig": "configuration_x.X", "AutoModelForCausalLM": "modeling_x.X"}
    edit_config(tiny_folder, auto_map=auto_map)
    load(tiny_folder)  # transformers has a class of its own for this type
    edit_config(tiny_folder, model_type="their-own")
    with pytest.raises(ModelError) as caught:
        load(tiny_folder)
    assert "needs the code that came with its files" in one_line(caught)
    assert not ran.exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "brand-new"}, "models of type 'brand-new' are unknown to transformers"),
        ({"model_type": None}, "models of type None are unknown"),
        ({"num_hidden_layers": "many"}, "the configuration can't be used"),
        ({"hidden_size": -1}, "can't be"),
        ({"hidden_size": 64}, "the weights can't be loaded"),
        ({"num_hidden_layers": 3}, "the weights lack 9 tensors"),
    ],
)
def test_a_configuration_that_does_not_fit(tiny_folder: Path, changes: dict[str, Any], message: str) -> None:
    edit_config(tiny_folder, **changes)
    with pytest.raises(ModelError) as caught:
        load(tiny_folder)
    assert message in one_line(caught)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\xff\xfe"])
def test_a_broken_configuration(tiny_folder: Path, content: bytes) -> None:
    (tiny_folder / "config.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_config(resolve(str(tiny_folder)))
    assert one_line(caught).startswith("tiny-llama: ")


@pytest.mark.parametrize("length", [0, 7, 100, 20_000])
def test_weights_cut_short(tiny_folder: Path, length: int) -> None:
    os.truncate(tiny_folder / "model.safetensors", length)
    with pytest.raises(ModelError) as caught:
        load(tiny_folder)
    assert "tiny-llama: the weights can't be loaded" in one_line(caught)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"model": {"type": "BPE"}}'])
def test_a_broken_tokenizer(tiny_folder: Path, content: bytes) -> None:
    (tiny_folder / "tokenizer.json").write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_tokenizer(resolve(str(tiny_folder)))
    assert "tiny-llama: the tokenizer can't be used" in one_line(caught)


def test_a_full_device_is_told_apart(tiny_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(*arguments: Any, **options: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nMore")

    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", fill)
    with pytest.raises(DoesNotFitError, match="the weights of tiny-llama do not fit cpu"):
        load(tiny_folder)


@pytest.mark.parametrize(
    ("model_type", "changes", "reason"),
    [
        ("t5", {}, "it has an encoder apart from its decoder"),
        ("bert", {}, "it reads in both directions"),
        ("clip", {}, "it does not write text"),
        ("mamba", {}, "layers of kind linear_attention"),
        ("qwen3_next", {}, "layers of kind linear_attention"),
        ("falcon_h1", {}, "layers of kind hybrid"),
        ("rwkv", {}, "a state that is not keys and values"),
        ("gemma3n_text", {}, "15 of its layers use the keys and values of others"),
        ("llama4_text", {}, "its attention is cut into chunks"),
        ("llama", {"layer_types": ["full_attention", "chunked_attention"]}, "cut into chunks"),
        ("bloom", {}, "its attention can't be replaced"),
    ],
)
def test_models_that_are_not_supported(model_type: str, changes: dict[str, Any], reason: str) -> None:
    config = AutoConfig.for_model(model_type)
    for name, value in changes.items():
        setattr(config, name, value)
    with pytest.raises(ModelError) as caught:
        supported_class(config, "their/model")
    message = one_line(caught)
    assert message.startswith(f"their/model: {model_type} models are not supported: ")
    assert reason in message


@pytest.mark.parametrize(
    "model_type",
    ["llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text", "phi3", "gpt_oss", "smollm3", "mixtral"],
)
def test_models_that_are_supported(model_type: str) -> None:
    assert supported_class(AutoConfig.for_model(model_type), "x").__name__.endswith("ForCausalLM")


@pytest.mark.parametrize("device", ["tpu", "mps", "meta", "cuda:99", "", "cpu:x"])
def test_a_device_that_is_not_there(tiny_folder: Path, device: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(tiny_folder, device=device)
    assert f"{device}" in one_line(caught)


def test_an_unknown_dtype(tiny_folder: Path) -> None:
    with pytest.raises(ModelError, match="unknown dtype 'int8'; use auto, bfloat16, float16, float32"):
        load(tiny_folder, dtype="int8")


@pytest.mark.parametrize(("instructions", "dtype"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_bfloat16_where_the_cpu_has_it(
    monkeypatch: pytest.MonkeyPatch, instructions: bool, dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: instructions)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    assert choose_dtype("auto", torch.device("cpu")) == dtype


@pytest.mark.parametrize(("capability", "dtype"), [((7, 5), torch.float32), ((8, 0), torch.bfloat16)])
def test_auto_is_bfloat16_where_the_gpu_has_it(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], dtype: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert choose_dtype("auto", torch.device("cuda")) == dtype


@pytest.mark.gpu
def test_on_a_gpu(tiny_folder: Path) -> None:
    assert choose_device() == torch.device("cuda", 0)
    assert load(tiny_folder, device="auto").device == torch.device("cuda", 0)


PEAK = """
import sys
import psutil
from lcdoc.engine.memory import peak_rss_bytes
from lcdoc.models import load_model, load_tokenizer, resolve
files = resolve()
load_tokenizer(files)
before = psutil.Process().memory_info().rss
model = load_model(files, device="cpu", dtype=sys.argv[1], packed=True, attn_implementation="sdpa")
for parameter in model.parameters():
    parameter.sum()
peak = peak_rss_bytes()
print((peak - before) / model.get_memory_footprint())
"""


@pytest.mark.model
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_loading_takes_little_more_than_the_weights(
    cli_env: dict[str, str], tmp_path: Path, dtype: str
) -> None:
    converted(resolve().path, dtype)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, dtype],
        cwd=tmp_path,
        env=cli_env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert float(done.stdout) < 1.2, done.stderr


LENGTHS = """
import sys
from pathlib import Path
import psutil
import torch
from lcdoc.models import load_model
from lcdoc.models.files import ModelFiles
packed = sys.argv[2] == "packed"
options = {"device": "cpu", "dtype": "bfloat16", "packed": packed, "attn_implementation": "sdpa"}
model = load_model(ModelFiles("tiny", Path(sys.argv[1])), **options)
taken = []
with torch.inference_mode():
    for length in range(20, 170):
        model(input_ids=torch.zeros(1, length, dtype=torch.long))
        taken.append(psutil.Process().memory_info().rss)
print(taken[-1] - taken[20])
"""


@pytest.mark.parametrize("form", ["packed", "plain"])
def test_texts_of_many_lengths_leave_nothing_behind(
    cli_env: dict[str, str], tiny_folder: Path, form: str
) -> None:
    """A kernel kept for each length and weight would take 1 MB, on processors that multiply bfloat16 themselves."""
    done = subprocess.run(
        [sys.executable, "-c", LENGTHS, str(tiny_folder), form],
        env=cli_env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert int(done.stdout) < 64_000_000, done.stderr
