"""Rounding a model's weights while it is loaded, one tensor at a time, so that it is never whole in memory."""

from functools import cache
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from lcdoc.models.gguf_levels import GgufLevels
from lcdoc.models.int4_linear import Int4Linear
from lcdoc.models.rounded_linear import Bfloat16Linear, Int8Linear, RoundedLinear

if TYPE_CHECKING:
    from transformers import PreTrainedModel

METHOD = "lcdoc"
LINEAR_OF: dict[str, type[RoundedLinear]] = {"bf16": Bfloat16Linear, "int8": Int8Linear, "int4": Int4Linear}

# An output layer of its own writes every token: fewer bits than these would show.
OUTPUT_LINEAR_OF = LINEAR_OF | {"int4": Int8Linear}


class RoundingConfig(QuantizationConfigMixin):
    """Names the way of storing to transformers. weights: "bf16", "int8" or "int4". rounded: weights of four bits that
    are in the model's file."""

    def __init__(self, weights: str, rounded: GgufLevels | None = None) -> None:
        self.quant_method = METHOD  # type: ignore[assignment]  # registered, so not of transformers' own
        self.weights, self.rounded = weights, rounded

    def to_dict(self) -> dict[str, Any]:
        """What a configuration says of it."""
        return {"quant_method": METHOD, "weights": self.weights}


class Rounding(HfQuantizer):
    """What transformers calls while it loads a model with a RoundingConfig."""

    quantization_config: RoundingConfig

    def _process_model_before_weight_loading(
        self, model: "PreTrainedModel", **options: Any
    ) -> "PreTrainedModel":
        return replace_linears(model, self.quantization_config.weights)

    def param_needs_quantization(self, model: "PreTrainedModel", param_name: str, **options: Any) -> bool:
        path, _, name = param_name.rpartition(".")
        return name == "weight" and isinstance(model.get_submodule(path), RoundedLinear)

    def get_quantize_ops(self) -> ConversionOps:
        return _Pack(self)

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False


class _Pack(ConversionOps):
    """One weight of the files into the parameters that stand for it."""

    def __init__(self, rounding: Rounding) -> None:
        self._rounding = rounding

    def convert(self, input_dict: dict[str, Any], *names: Any, **options: Any) -> dict[str, Any]:
        model: PreTrainedModel = options["model"]
        packed = {}
        for name, value in input_dict.items():
            tensor = value[0] if isinstance(value, list) else value
            if not self._rounding.param_needs_quantization(model, name):
                packed[name] = tensor
                continue
            path = name.removesuffix(".weight")
            linear: Any = model.get_submodule(path)
            if tensor.shape != (linear.out_features, linear.in_features):
                raise ValueError(f"{name} has the shape {tuple(tensor.shape)}")
            packed |= {f"{path}.{part}": stored for part, stored in self._parts(linear, path, tensor).items()}
        return packed

    def _parts(self, linear: RoundedLinear, path: str, tensor: Tensor) -> dict[str, Tensor]:
        rounded = self._rounding.quantization_config.rounded
        levels = rounded.of(path, tensor) if rounded and isinstance(linear, Int4Linear) else None
        if levels is None:
            return linear.pack(tensor)
        assert isinstance(linear, Int4Linear)
        return {name: part.to(tensor.device) for name, part in linear.pack_levels(levels).items()}


@cache
def register() -> None:
    """Makes the method known to transformers, through its own registry."""
    register_quantizer(METHOD)(Rounding)


def replace_linears(model: "PreTrainedModel", weights: str) -> "PreTrainedModel":
    """Every nn.Linear whose weight is its own becomes a RoundedLinear. weights: "bf16", "int8" or "int4"."""
    tied = {name for pair in (model.all_tied_weights_keys or {}).items() for name in pair}
    output = model.get_output_embeddings()
    for path, module in list(model.named_modules()):
        if type(module) is nn.Linear and f"{path}.weight" not in tied:
            kinds = OUTPUT_LINEAR_OF if module is output else LINEAR_OF
            model.set_submodule(path, kinds[weights](module))
    return model
