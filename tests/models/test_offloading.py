"""Layers kept off the device: the same logits, and less memory."""

import gc
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from lcdoc.models import layer_bytes, load_model, loaded_bytes, resolve, weights_bytes
from lcdoc.models.offloading import device_map, fetched_from

TINY = {
    "model_type": "llama",
    "vocab_size": 99,
    "hidden_size": 40,
    "intermediate_size": 72,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 10,
    "pad_token_id": 0,
}


def saved(folder: Path, **config: Any) -> Path:
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(**TINY | config)).save_pretrained(folder)
    return folder


def load(folder: Path, **options: Any) -> Any:
    return load_model(resolve(str(folder)), device="cpu", attn_implementation="eager", **options)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])  # the files hold float32
@pytest.mark.parametrize("offloaded", [1, 3])
@pytest.mark.parametrize("model_type", ["llama", "gemma2", "mixtral"])
def test_offloaded_layers_compute_the_same(
    tmp_path: Path, model_type: str, offloaded: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = saved(tmp_path / "model", model_type=model_type)
    resident = load(folder, dtype=dtype)
    streamed = load(folder, dtype=dtype, offloaded_layers=offloaded)
    packed = load(folder, dtype=dtype, offloaded_layers=offloaded, packed=True)
    token_ids = torch.arange(3, 40)[None]
    with torch.inference_mode():
        assert torch.equal(streamed(token_ids).logits, resident(token_ids).logits)
        assert torch.equal(packed(token_ids).logits, resident(token_ids).logits)
    config = AutoConfig.from_pretrained(folder)
    away = sum(weight.nbytes for weight in streamed.parameters() if weight.is_meta)
    assert away == offloaded * layer_bytes(config, getattr(torch, dtype))
    assert loaded_bytes(streamed) == weights_bytes(config, getattr(torch, dtype))
    assert streamed.device.type == "cpu"
    assert list(tmp_path.glob("lcdoc-weights-*"))
    del streamed, packed
    gc.collect()
    assert not list(tmp_path.glob("lcdoc-weights-*"))


def test_nothing_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder = saved(tmp_path / "model")
    capfd.readouterr()
    load(folder, offloaded_layers=1)
    assert capfd.readouterr() == ("", "")


def test_a_gpu_keeps_its_other_layers_in_memory_and_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    config = AutoConfig.for_model(**TINY)
    one_layer = layer_bytes(config, torch.float32)

    class Memory:
        available = one_layer * 2

    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory)
    places = device_map(config, torch.float32, torch.device("cuda", 1), offloaded_layers=2)
    layers = {path: place for path, place in places.items() if ".layers." in path}
    assert layers == {"model.layers.0": 1, "model.layers.1": "cpu", "model.layers.2": "disk"}
    assert {place for path, place in places.items() if path not in layers} == {1}
    assert {"model.embed_tokens", "model.norm", "lm_head"} <= set(places)


def test_where_offloaded_layers_are_fetched_from(monkeypatch: pytest.MonkeyPatch) -> None:
    class Memory:
        available = 1000

    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory)
    cpu, cuda = torch.device("cpu"), torch.device("cuda", 0)
    assert fetched_from(cpu, 0, 100, 5000) == {}
    assert fetched_from(cpu, 3, 100, 700) == {"cached": 3}
    assert fetched_from(cpu, 3, 100, 701) == {"disk": 3}
    # Eight layers are what device_map keeps in memory; what the GPU holds takes nothing of it.
    assert fetched_from(cuda, 3, 100, 10**9) == {"memory": 3}
    assert fetched_from(cuda, 10, 100, 10**9) == {"memory": 8, "cached": 2}
    assert fetched_from(cuda, 11, 100, 10**9) == {"memory": 8, "disk": 3}


PEAK = """
import sys
import psutil
import torch
from lcdoc.engine.memory import peak_rss_bytes
from lcdoc.models import load_model, resolve
options = {"device": "cpu", "dtype": sys.argv[2], "attn_implementation": "sdpa"}
def run(name, offloaded):
    model = load_model(resolve(sys.argv[1] + name), offloaded_layers=offloaded, **options)
    with torch.inference_mode():
        model(torch.arange(3, 40)[None])
run("/warm", 2)
before = psutil.Process().memory_info().rss
run("/large", 22)
print(peak_rss_bytes() - before)
"""


@pytest.fixture(scope="module")
def small_and_large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two models: one to warm up with, and one of more than 350 MB."""
    folder = tmp_path_factory.mktemp("models")
    saved(folder / "warm")
    shape = {"hidden_size": 512, "intermediate_size": 2048, "num_hidden_layers": 24, "head_dim": 128}
    saved(folder / "large", **shape)
    return folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_offloaded_weights_are_never_all_in_memory(small_and_large: Path, dtype: str) -> None:
    command = [sys.executable, "-c", PEAK, str(small_and_large), dtype]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    stored_bytes = sum(path.stat().st_size for path in (small_and_large / "large").glob("*.safetensors"))
    assert stored_bytes > 350e6
    assert int(done.stdout) < 0.25 * stored_bytes
