"""From a model's files to its configuration, its tokenizer and the loaded model. Opens no socket."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from weakref import finalize

from lcdoc.errors import DoesNotFitError, ModelError, UsageError
from lcdoc.models.files import ModelFiles
from lcdoc.models.foreign import quiet_transformers
from lcdoc.models.importing import import_transformers

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# The only way files are ever opened: on this machine, and without running code that came with them.
LOCAL_ONLY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_config(files: ModelFiles) -> "PretrainedConfig":
    """The model's configuration, of a class that comes with transformers. Raises ModelError."""
    import_transformers()
    from transformers import AutoConfig

    folder = _folder(files)
    with quiet_transformers(f"{files.name}: the configuration can't be used"):
        _check_own_class(json.loads((folder / "config.json").read_text(encoding="utf-8")), files.name)
        return AutoConfig.from_pretrained(folder, **LOCAL_ONLY)


def load_config_file(path: Path) -> "PretrainedConfig":
    """A configuration alone, as a model that isn't here has it in its config.json. Raises UsageError for a file that
    is none, ModelError for one that can't be used."""
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{path}: can't be read as a config.json: {error}") from error
    if not isinstance(content, dict) or "model_type" not in content:
        raise UsageError(f"{path}: not a model's config.json; it names no model_type")
    import_transformers()
    from transformers import CONFIG_MAPPING

    with quiet_transformers(f"{path}: the configuration can't be used"):
        _check_own_class(content, str(path))
        config: PretrainedConfig = CONFIG_MAPPING[content["model_type"]].from_dict(content)
    config.name_or_path = str(path)
    return config


def load_tokenizer(files: ModelFiles) -> "PreTrainedTokenizerBase":
    """The model's own tokenizer, the fast kind, which knows each token's characters. Raises ModelError."""
    import_transformers()
    from transformers import AutoTokenizer

    folder = _folder(files)
    with quiet_transformers(f"{files.name}: the tokenizer can't be used"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL_ONLY)
    if not tokenizer.is_fast:
        raise ModelError(f"{files.name}: no tokenizer.json, which tells where each token lies in the text")
    return tokenizer


def load_model(
    files: ModelFiles,
    *,
    device: str = "auto",
    dtype: str = "auto",
    weights: str = "model",
    offloaded_layers: int = 0,
    packed: bool = False,
    attn_implementation: str,
) -> "PreTrainedModel":
    """The model on its device, ready to read: in eval mode, without gradients.

    weights: "model" as it computes, or "bf16", "int8", "int4": what its linear layers are rounded to as they are
    loaded. offloaded_layers: how many of the last decoder layers stay off the device and are streamed through it.
    packed: whether the others may be laid out for a CPU's products, with the same results; they can't be trained then.
    attn_implementation: the name of a registered attention function. Raises ModelError for models that
    lcdoc can't read with and for damaged weights, DoesNotFitError where they exceed the GPU.
    """
    config = load_config(files)
    from torch import OutOfMemoryError

    from lcdoc.engine.packed_linear import pack_linears, packs
    from lcdoc.models.heap import keep_few_kernels, large_blocks_apart
    from lcdoc.models.offloading import device_map
    from lcdoc.models.placement import choose_device, choose_dtype, dtype_name, stored_weights
    from lcdoc.models.support import is_rounded, supported_class

    keep_few_kernels()
    model_class = supported_class(config, files.name)
    placed = choose_device(device)
    number_format = choose_dtype(dtype, placed)
    weights = stored_weights(weights, number_format)
    packed = packed and packs(placed, number_format)
    folder = _folder(files, dtype_name(number_format))
    with quiet_transformers(f"{files.name}: the weights can't be loaded"), large_blocks_apart():
        options = _rounding(config, weights, files)
        places: dict[str, Any] = {"": placed}
        scratch = None
        if offloaded_layers:
            places = device_map(config, number_format, placed, offloaded_layers)
            # Layers that the files hold in another form are written there in the model's.
            scratch = TemporaryDirectory(prefix="lcdoc-weights-")
            options["offload_folder"] = scratch.name
        if placed.type == "cpu" and not is_rounded(config):
            options |= _tensors_apart(folder, number_format, weights, packed)
        try:
            loaded: Any = model_class.from_pretrained(
                None if "state_dict" in options else folder,
                config=config,
                dtype=number_format,
                device_map=places,
                attn_implementation=attn_implementation,
                use_safetensors=True,
                output_loading_info=True,
                **options,
                **LOCAL_ONLY,
            )
        except OutOfMemoryError as error:
            raise DoesNotFitError(
                f"the weights of {files.name} do not fit {placed}; take a smaller model or --device cpu"
            ) from error
        model, report = loaded
        ready: PreTrainedModel = model.eval().requires_grad_(False)
        if report["missing_keys"]:
            missing = sorted(report["missing_keys"])
            raise ModelError(f"{files.name}: the weights lack {len(missing)} tensors, {missing[0]} the first")
        if packed:
            pack_linears(ready)
    if scratch is not None:
        finalize(ready, scratch.cleanup)
    return ready


def _rounding(config: "PretrainedConfig", weights: str, files: ModelFiles) -> dict[str, Any]:
    """What tells transformers to round weights while loading. Raises ModelError where they are rounded already."""
    from lcdoc.models.gguf_levels import GgufLevels
    from lcdoc.models.rounding import RoundingConfig, register
    from lcdoc.models.support import is_rounded

    if weights == "model":
        return {}
    if is_rounded(config):
        raise ModelError(f"{files.name}: its weights are rounded already; leave out --weights {weights}")
    register()
    if not (files.is_gguf and weights == "int4"):
        return {"quantization_config": RoundingConfig(weights)}
    text = config.get_text_config()
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return {"quantization_config": RoundingConfig(weights, GgufLevels(files.path, head_dim))}


def _tensors_apart(folder: Path, dtype: "torch.dtype", weights: str, packed: bool) -> dict[str, Any]:
    """Where the files hold other numbers than the model will, or in another order: their tensors, to be read one at a
    time."""
    from transformers import GenerationConfig

    from lcdoc.models.stored_tensors import stored_tensors

    stored = stored_tensors(folder)
    if weights == "model" and not packed and all(tensor.dtype == dtype for tensor in stored.values()):
        return {}
    if not (folder / "generation_config.json").is_file():
        return {"state_dict": stored}
    return {"state_dict": stored, "generation_config": GenerationConfig.from_pretrained(folder)}


def _folder(files: ModelFiles, dtype: str | None = None) -> Path:
    """A folder that transformers can open; for a GGUF file, its conversion."""
    if not files.is_gguf:
        return files.path
    from lcdoc.models.conversion import converted

    return converted(files.path, dtype)


def _check_own_class(content: Any, name: str) -> None:
    """Raises ModelError for a model whose code comes with its files: lcdoc runs none of that."""
    from transformers import CONFIG_MAPPING, __version__

    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind in CONFIG_MAPPING:
        return
    if kind and "auto_map" in content:
        raise ModelError(
            f"{name}: needs the code that came with its files, and lcdoc runs no downloaded code"
        )
    raise ModelError(f"{name}: models of type {kind!r} are unknown to transformers {__version__}")
