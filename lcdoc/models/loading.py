"""From a model's files to its configuration, its tokenizer and the loaded model. Opens no socket."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lcdoc.errors import ModelError
from lcdoc.models.files import ModelFiles
from lcdoc.models.placement import choose_device, choose_dtype
from lcdoc.models.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

# The only way files are ever opened: on this machine, and without running code that came with them.
LOCAL_ONLY: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}


def load_config(files: ModelFiles) -> "PretrainedConfig":
    """The model's configuration, of a class that comes with transformers."""
    from transformers import AutoConfig

    folder = _folder(files)
    try:
        with quiet_transformers():
            return AutoConfig.from_pretrained(folder, **LOCAL_ONLY)
    except (ValueError, OSError, KeyError, TypeError) as error:
        raise ModelError(f"{files.name}: the configuration can't be used: {_first_line(error)}") from error


def load_tokenizer(files: ModelFiles) -> "PreTrainedTokenizerBase":
    """The model's own tokenizer, the fast kind, which knows each token's characters."""
    from transformers import AutoTokenizer

    folder = _folder(files)
    try:
        with quiet_transformers():
            tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL_ONLY)
    except (ValueError, OSError, KeyError, TypeError, ImportError) as error:
        raise ModelError(f"{files.name}: the tokenizer can't be used: {_first_line(error)}") from error
    if not tokenizer.is_fast:
        raise ModelError(
            f"{files.name}: the tokenizer does not tell where its tokens lie; tokenizer.json is needed"
        )
    return tokenizer


def load_model(
    files: ModelFiles, *, device: str = "auto", dtype: str = "auto", attn_implementation: str
) -> "PreTrainedModel":
    """The model on its device, ready to read: in eval mode, without gradients.

    attn_implementation: the name of a registered attention function. Raises ModelError for models
    that lcdoc can't read with and for weights that are damaged or incomplete.
    """
    from lcdoc.models.support import supported_class

    placed = choose_device(device)
    number_format = choose_dtype(dtype, placed)
    config = load_config(files)
    model_class = supported_class(config, files.name)
    folder = _folder(files, str(number_format).removeprefix("torch."))
    try:
        with quiet_transformers():
            model, report = model_class.from_pretrained(
                folder,
                config=config,
                dtype=number_format,
                device_map={"": placed},
                attn_implementation=attn_implementation,
                use_safetensors=True,
                output_loading_info=True,
                **LOCAL_ONLY,
            )
    except Exception as error:  # the files are the user's, and every library below reports damage its own way
        raise ModelError(f"{files.name}: the weights can't be loaded: {_first_line(error)}") from error
    if report["missing_keys"]:
        missing = sorted(report["missing_keys"])
        raise ModelError(
            f"{files.name}: the weights are incomplete: {len(missing)} missing, {missing[0]} the first"
        )
    return model.eval().requires_grad_(False)


def _folder(files: ModelFiles, dtype: str | None = None) -> Path:
    """A folder that transformers can open; for a GGUF file, its conversion."""
    if not files.is_gguf:
        return files.path
    from lcdoc.models.conversion import converted

    return converted(files.path, dtype)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__
