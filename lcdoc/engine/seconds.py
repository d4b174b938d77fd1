"""How long a reading and an answer will take, from the rates of the device."""

from dataclasses import dataclass

from lcdoc.engine.budget import Rung
from lcdoc.engine.flops import past_tokens, prefill_flops, unpacked_values
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.rates import Rates


@dataclass(frozen=True)
class Seconds:
    """prefill_s: until the first token of an answer. answer_s: for an answer of the full length."""

    prefill_s: float
    answer_s: float


def predict_seconds(
    shape: ModelShape,
    rung: Rung,
    rates: Rates,
    *,
    tokens: int,
    answer_tokens: int,
    layer_weights: int,
    step_bytes: int,
    fetch_s: float = 0.0,
) -> Seconds:
    """tokens: all that is read. layer_weights: those of the layers that one token is multiplied with. step_bytes: of
    all weights that each token of an answer is multiplied with. fetch_s: for bringing offloaded weights to the device
    once; every chunk and every token of an answer does it anew."""
    chunk_tokens = min(rung.chunk_tokens, tokens)
    chunks, held = -(-tokens // chunk_tokens), tokens
    if rung.eviction is not None:
        held = min(tokens, rung.eviction.keep_tokens)
    flops = prefill_flops(
        shape,
        rung.split,
        tokens=tokens,
        chunk_tokens=chunk_tokens,
        layer_weights=layer_weights,
        keep_tokens=held,
    )
    # Each probe is one more pass after each chunk; its attention is small beside its products with the weights.
    probe_tokens = rung.eviction.probe_tokens(chunk_tokens) if rung.eviction is not None else 0
    linear_flops = flops.linear + 2 * layer_weights * chunks * probe_tokens
    passes = 2 * chunks if probe_tokens else chunks
    steps_s = rates.layer_step_s * shape.num_layers
    unpack_s = _unpack_s(shape, rung, rates)
    prefill_s = (
        linear_flops / rates.linear_flops_per_s(chunk_tokens, shape.hidden_size)
        + flops.causal / rates.causal_flops_per_s
        + flops.dense / rates.dense_flops_per_s
        + unpack_s * min(past_tokens(tokens, chunk_tokens), held * chunks)
        + (steps_s + fetch_s) * passes
    )
    attended = PageSelection().attended_tokens(held) if rung.selects_pages else held
    attended_bytes = (rung.kv_bytes - rung.narrowed_bytes) * attended / held
    attend_s = attended_bytes / rates.attended_bytes_per_s + unpack_s * attended
    token_s = steps_s + fetch_s + step_bytes / rates.bytes_per_s + attend_s
    return Seconds(prefill_s, answer_tokens * token_s)


def _unpack_s(shape: ModelShape, rung: Rung, rates: Rates) -> float:
    """Seconds for each token held, each time that it is attended to."""
    rate = rates.unpacked_per_s.get(rung.kv_dtype)
    return unpacked_values(shape, rung.split, 1) / rate if rate else 0.0
