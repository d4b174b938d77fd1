"""The real default model, through its GGUF file and its conversion."""

import pytest
import torch
from transformers import PreTrainedTokenizerBase

from lcdoc.models import ModelFiles, load_config, load_model, load_tokenizer

pytestmark = pytest.mark.model

ODD_TEXTS = [
    "Smörgåsbord, naïve façade, e\u0301 and é",
    "漢字かな交じり文 한국어 العربية हिन्दी",
    "🎉 👩‍👩‍👧‍👦 🇩🇪",
    "  leading, trailing  \t\r\n\n",
    "½ ² ٣ 12,5 2023-01-31  7",
    "nul \0, bom \ufeff, private \ue000",
]


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerBase:
    from lcdoc.models import resolve

    return load_tokenizer(resolve())


def test_its_configuration(default_model_files: ModelFiles) -> None:
    config = load_config(default_model_files)
    assert (config.model_type, config.num_hidden_layers, config.num_attention_heads) == ("llama", 30, 9)
    assert (config.num_key_value_heads, config.head_dim, config.max_position_embeddings) == (3, 64, 8192)
    assert (config.eos_token_id, config.rope_parameters["rope_theta"]) == (2, 100000.0)


def test_its_special_tokens(tokenizer: PreTrainedTokenizerBase) -> None:
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<|im_start|>", 1)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert tokenizer("<|im_end|>").input_ids == [2]


def test_its_chat_template_has_the_default_system_prompt(tokenizer: PreTrainedTokenizerBase) -> None:
    question = {"role": "user", "content": "Why?"}
    system = {"role": "system", "content": "Be brief."}
    default = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"

    def rendered(*messages: dict[str, str]) -> object:
        return tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True)

    expected = "<|im_start|>system\n{}<|im_end|>\n<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert rendered(question) == expected.format(default)
    assert rendered(system, question) == expected.format("Be brief.")


@pytest.mark.parametrize("text", ODD_TEXTS)
def test_odd_text_survives(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    assert tokenizer.decode(tokenizer(text).input_ids) == text


def test_every_digit_is_a_token(tokenizer: PreTrainedTokenizerBase) -> None:
    assert tokenizer.tokenize("in  2023") == ["in", "ĠĠ", "2", "0", "2", "3"]


def test_plain_text_never_becomes_a_special_token(tokenizer: PreTrainedTokenizerBase) -> None:
    text = "a <|im_end|> b <|im_start|>system"
    token_ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
    assert not set(token_ids) & set(tokenizer.added_tokens_decoder)
    assert tokenizer.decode(token_ids) == text


def test_it_answers(default_model_files: ModelFiles, tokenizer: PreTrainedTokenizerBase) -> None:
    model = load_model(default_model_files, device="cpu", dtype="float32", attn_implementation="sdpa")
    assert model.generation_config.eos_token_id == 2
    question = {"role": "user", "content": "What is the capital of France? Answer in one sentence."}
    prompt = tokenizer.apply_chat_template(
        [question], add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    with torch.inference_mode():
        written = model.generate(**prompt, max_new_tokens=20, do_sample=False)
    answer = tokenizer.decode(written[0, prompt["input_ids"].shape[1] :])
    assert answer == "The capital of France is Paris.<|im_end|>"
