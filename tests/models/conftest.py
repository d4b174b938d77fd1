"""Tiny random models: a folder of safetensors, and the same model as a GGUF file."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from huggingface_hub import constants
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet()), "Ġa"]
MERGES = [("Ġ", "a")]
TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"

WriteGguf = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny_model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(TOKENS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def tiny_folder(tiny_model: LlamaForCausalLM, tmp_path: Path) -> Path:
    """config.json, model.safetensors and a byte-level tokenizer."""
    folder = tmp_path / "tiny-llama"
    tiny_model.save_pretrained(folder)
    tokenizer = Tokenizer(models.BPE({token: i for i, token in enumerate(TOKENS)}, MERGES))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=SPECIAL[2]).save_pretrained(folder)
    return folder


@pytest.fixture
def hub_model(tiny_folder: Path) -> Iterator[Path]:
    """The tiny model's snapshot as it lies in the hub's cache after someone/tiny was downloaded."""
    repository = Path(constants.HF_HUB_CACHE) / "models--someone--tiny"
    commit = "0" * 40
    shutil.copytree(tiny_folder, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit, encoding="utf-8")
    yield repository / "snapshots" / commit
    shutil.rmtree(repository, ignore_errors=True)


@pytest.fixture
def write_gguf(tiny_model: LlamaForCausalLM, tmp_path: Path) -> WriteGguf:
    """Writes the tiny model as a GGUF file; `leave_out` names a tensor, `kind` how the layers' weights are stored (else
    in full), other arguments change the header."""

    def write(
        name: str = "tiny.gguf", leave_out: str | None = None, kind: str | None = None, **values: Any
    ) -> Path:
        config = tiny_model.config
        header = {
            "architecture": "llama",
            "layers": config.num_hidden_layers,
            "embedding": config.hidden_size,
            "vocabulary": "smollm",
        } | values
        writer = gguf.GGUFWriter(tmp_path / name, header["architecture"])
        writer.add_name("tiny")
        writer.add_block_count(header["layers"])
        writer.add_context_length(config.max_position_embeddings)
        writer.add_embedding_length(header["embedding"])
        writer.add_feed_forward_length(config.intermediate_size)
        writer.add_head_count(config.num_attention_heads)
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_layer_norm_rms_eps(config.rms_norm_eps)
        writer.add_rope_freq_base(10000.0)
        writer.add_vocab_size(len(TOKENS))
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(header["vocabulary"])
        writer.add_token_list(TOKENS)
        writer.add_token_types([3 if token in SPECIAL else 1 for token in TOKENS])
        writer.add_token_merges([" ".join(merge) for merge in MERGES])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_pad_token_id(2)
        writer.add_chat_template(TEMPLATE)
        if "split_count" in header:
            writer.add_uint16("split.count", header["split_count"])
        for tensor, weights in tensors(tiny_model).items():
            if tensor == leave_out:
                continue
            if kind is not None and tensor.startswith("blk.") and weights.ndim == 2:
                stored = gguf.GGMLQuantizationType[kind]
                writer.add_tensor(tensor, gguf.quants.quantize(weights, stored), raw_dtype=stored)
            else:
                writer.add_tensor(tensor, weights)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return tmp_path / name

    return write


@pytest.fixture
def tiny_gguf(write_gguf: WriteGguf) -> Path:
    return write_gguf()


def tensors(model: LlamaForCausalLM) -> dict[str, np.ndarray]:
    """The model's weights under the names and in the order that a GGUF file of a llama has."""
    config = model.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    found = {}
    for name, parameter in model.named_parameters():
        weights = parameter.detach().numpy()
        for projection, num_heads in heads.items():
            if projection in name:
                weights = interleaved(weights, num_heads)
        found[names.get_name(name.removesuffix(".weight")) + ".weight"] = weights
    return found


def interleaved(weights: np.ndarray, num_heads: int) -> np.ndarray:
    """Rotary pairs side by side, as llama.cpp stores them: [heads * head_dim, hidden_size]."""
    halves = weights.reshape(num_heads, 2, weights.shape[0] // num_heads // 2, weights.shape[1])
    return halves.swapaxes(1, 2).reshape(weights.shape)
