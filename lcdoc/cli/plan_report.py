"""A plan as one JSON object, described by plan.schema.json."""

from dataclasses import asdict
from typing import Any

from lcdoc.cli.plan_words import exact_line
from lcdoc.engine.extension import Extension
from lcdoc.tasks.answer import SCHEMA_VERSION
from lcdoc.tasks.forecast import Forecast, Way
from lcdoc.tasks.parts_plan import PartsPlan


def report(forecast: Forecast) -> dict[str, Any]:
    """Sizes in bytes, times in seconds; times and calibration are null for a device that isn't here."""
    subject, place, need = forecast.subject, forecast.place, forecast.need
    return {
        "schema_version": SCHEMA_VERSION,
        "model": {
            "name": subject.model,
            "dtype": str(place.dtype).removeprefix("torch."),
            "context_window": forecast.window,
            "parameters": forecast.weights.total,
            "weights_bytes": forecast.weights_bytes,
        },
        "device": {
            "name": str(place.device),
            "here": place.here,
            "base_bytes": place.base_bytes,
            "total_bytes": place.total_bytes,
        },
        "budget_bytes": place.budget_bytes,
        "tokens": {
            "document": need.document_tokens,
            "prompt": need.prompt_tokens,
            "max_new": need.max_new_tokens,
            "capacity": forecast.capacity_tokens,
        },
        "extension": forecast.extension and _extension(forecast.extension),
        "parts": forecast.parts and _parts(forecast.parts),
        "ways": [_way(way, forecast) for way in forecast.ways],
        "chosen": forecast.chosen and forecast.chosen.rung.name,
        "exact": None if forecast.exact is None else asdict(forecast.exact) | {"text": exact_line(forecast)},
        "refusal": forecast.refusal,
        "notes": list(forecast.notes),
        "calibration": forecast.calibration and asdict(forecast.calibration),
    }


def _extension(extension: Extension) -> dict[str, Any]:
    return {"method": extension.method, "factor": extension.factor, "times": extension.times}


def _parts(parts: PartsPlan) -> dict[str, Any]:
    reread, joined = (0, parts.excerpt_tokens) if parts.kept_tokens else (parts.excerpt_tokens, 0)
    return {
        "number": parts.num_parts,
        "tokens": parts.tokens,
        "reread_tokens": reread,
        "joined_tokens": joined,
    }


def _way(way: Way, forecast: Forecast) -> dict[str, Any]:
    rung = way.rung
    return {
        "name": rung.name,
        "loss": rung.loss,
        "kv_dtype": rung.kv_dtype,
        "chunk_tokens": rung.chunk_tokens,
        "num_streaming_heads": rung.split.num_streaming_heads,
        "evict": rung.eviction and rung.eviction.policy.name,
        "keep_tokens": rung.eviction and rung.eviction.keep_tokens,
        "offloaded_bytes": rung.offloaded_bytes,
        "kv_bytes": rung.kv_bytes,
        "weights_bytes": forecast.weights_bytes,
        "workspace_bytes": rung.workspace_bytes,
        "predicted_peak_bytes": rung.peak_bytes,
        "prefill_s": way.seconds and way.seconds.prefill_s,
        "answer_s": way.seconds and way.seconds.answer_s,
        "fits": way.fits,
        "chosen": way is forecast.chosen,
    }
