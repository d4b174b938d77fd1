"""How a document would be read within the budget, by every way there is, without loading any weights."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import partial
from tempfile import gettempdir
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.budget import Rung
from lcdoc.engine.calibration import Calibration
from lcdoc.engine.extension import Extension
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.seconds import Seconds, predict_seconds
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.fusion.likelihood import num_candidates
from lcdoc.models import WeightCount, count_weights, fetched_from, layer_bytes, weights_bytes
from lcdoc.tasks.exact import ExactChange, find_exact_change
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.parts_plan import (
    IN_PARTS,
    PartsPlan,
    is_read_in_parts,
    part_settings,
    parts_below,
    plan_parts,
)
from lcdoc.tasks.place import Place
from lcdoc.tasks.plan import Plan, list_rungs, make_plan
from lcdoc.tasks.room import Need, context_window, settle
from lcdoc.tasks.speeds import known_calibration
from lcdoc.tasks.subject import Subject

Say = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """One rung of the plan's ladder. seconds: None for a device that isn't here, and for offloaded weights that lie
    where reading could not be measured. fits: within budget and window."""

    rung: Rung
    seconds: Seconds | None
    fits: bool


@dataclass(frozen=True)
class Forecast:
    """weights_bytes: as they are loaded. extension: how positions go beyond the window. parts: how the document is read
    in parts, where it is; then the ways are those to read one of them, and seconds are for all. ways: the least lossy
    first, and reading in parts below those that read at once with all weights on the device.
    chosen: that which `ask` would take; None where none fits, and refusal says why. exact: what would make an exact
    reading fit; None where the chosen way is exact.
    """

    subject: Subject
    place: Place
    need: Need
    weights: WeightCount
    weights_bytes: int
    window: int
    capacity_tokens: int
    extension: Extension | None
    parts: PartsPlan | None
    ways: tuple[Way, ...]
    chosen: Way | None
    refusal: str | None
    exact: ExactChange | None
    notes: tuple[str, ...]
    calibration: Calibration | None


def make_forecast(
    subject: Subject, settings: ReadSettings, max_new_tokens: int, *, recalibrate: bool, say: Say
) -> Forecast:
    """say hears what takes time. Raises UsageError for settings that don't go together."""
    settings = with_own_profile(settings, subject.files)
    weights = count_weights(subject.config)
    place = Place.of(settings)
    if recalibrate and not place.here:
        raise UsageError(
            f"--recalibrate measures this machine, and {settings.device} is not here; leave it out"
        )
    need = Need(subject.document_tokens, subject.prompt_tokens, max_new_tokens, keep_turns=False)
    all_tokens = need.document_tokens + need.prompt_tokens + max_new_tokens
    config, window, notes = subject.config, context_window(subject.config), []
    unknown = not subject.installed and settings.extend is None and settings.fusion not in IN_PARTS
    if unknown and all_tokens > window:
        config = _with_window(config, all_tokens)
        notes.append(f"the model's window is {window:,} tokens; this plans as if it were extended")
    own_bytes = weights_bytes(config, place.dtype)
    shape = ModelShape.from_config(
        config,
        weights_bytes(config, place.dtype, settings.weights),
        place.dtype,
        layer_bytes(config, place.dtype),
        place.device,
    )
    room, chosen, refusal, parts = None, None, None, None

    def make(settings: ReadSettings, need: Need, budget_bytes: int = place.budget_bytes) -> Plan:
        own = with_own_profile(settings, None)
        sizes = {"base_bytes": place.base_bytes, "budget_bytes": budget_bytes}
        return make_plan(config, own, need, shape, **sizes)

    try:
        if is_read_in_parts(make, config, settings, need, shape):
            parts = plan_parts(make, config, settings, need, shape, subject.tokenized)
            room, chosen = parts.part.room, parts.named(parts.part.rung)
        else:
            need, room = settle(config, settings, need, shape)
            notes += [room.note] if room.note else []
            chosen = make(settings, need).rung
    except DoesNotFitError as error:
        refusal = str(error)
    capacity_tokens = room.capacity_tokens if room else all_tokens
    extension = room.extension if room else None
    sizes = capacity_tokens, place.base_bytes, place.budget_bytes
    if parts is None:
        at_once = list(list_rungs(settings, shape, *sizes, need, extension))
        resident = [rung for rung in at_once if not rung.offloaded_layers]
        less = partial(make, budget_bytes=min(rung.peak_bytes for rung in resident) - 1)
        below = parts_below(less, config, settings, need, shape, subject.tokenized)
        rungs: list[tuple[Rung, PartsPlan | None]] = [(rung, None) for rung in at_once]
        rungs[len(resident) : len(resident)] = [(below.named(below.part.rung), below)] if below else []
    else:
        one = with_own_profile(part_settings(settings), None)
        rungs = [(parts.named(rung), parts) for rung in list_rungs(one, shape, *sizes)]
    exact = None
    if chosen is None or chosen.loss:
        binding = window if subject.installed else None
        unrounded = replace(shape, weights_bytes=own_bytes)
        exact = find_exact_change(settings, unrounded, need, place, binding, subject.tokenized)
    calibration = (
        known_calibration(place.device, place.dtype, say, recalibrate=recalibrate) if place.here else None
    )
    if calibration is None:
        notes.append(f"no times: {settings.device} is not on this machine")
    ways = tuple(
        Way(
            rung,
            _seconds(shape, rung, calibration, need, weights, place, by) if calibration else None,
            room is not None and rung.peak_bytes <= place.budget_bytes,
        )
        for rung, by in rungs
    )
    if calibration is not None and any(way.seconds is None for way in ways):
        notes.append(f"no time for offloaded weights: reading from {gettempdir()} could not be measured")
    return Forecast(
        subject=subject,
        place=place,
        need=need,
        weights=weights,
        weights_bytes=shape.weights_bytes,
        window=window,
        capacity_tokens=capacity_tokens,
        extension=extension,
        parts=parts,
        ways=ways,
        chosen=next((way for way in ways if way.rung == chosen), None),
        refusal=refusal,
        exact=exact,
        notes=tuple(notes),
        calibration=calibration,
    )


def _with_window(config: Any, tokens: int) -> Any:
    wide = deepcopy(config)
    wide.get_text_config().max_position_embeddings = tokens
    return wide


def _seconds(
    shape: ModelShape,
    rung: Rung,
    calibration: Calibration,
    need: Need,
    weights: WeightCount,
    place: Place,
    parts: PartsPlan | None = None,
) -> Seconds | None:
    """parts: given, for all of them, one after the other in this way, for spans by themselves, and for what is read
    again."""
    if parts is not None:
        one, span, again = (
            replace(need, document_tokens=tokens)
            for tokens in (parts.tokens, parts.span_tokens, parts.excerpt_tokens)
        )
        each = _seconds(shape, rung, calibration, one, weights, place)
        last = _seconds(shape, parts.again.rung, calibration, again, weights, place)
        alone = _seconds(shape, parts.again.rung, calibration, span, weights, place)
        if each is None or last is None or alone is None:
            return None
        prefill_s = each.prefill_s * need.document_tokens / parts.tokens
        if not parts.kept_tokens:  # else nothing is read a second time
            judged = (
                num_candidates(need.document_tokens // parts.span_tokens) if parts.likelihood_bytes else 0
            )
            prefill_s += alone.prefill_s * judged + last.prefill_s
        return Seconds(prefill_s, last.answer_s)
    reading_bytes = rung.peak_bytes - place.base_bytes
    layers = fetched_from(place.device, rung.offloaded_layers, shape.layer_bytes, reading_bytes)
    fetch_s = calibration.rates.fetch_s(layers, shape.layer_bytes)
    if fetch_s is None:
        return None
    # The head's weights are multiplied with every token of an answer, those of the embeddings never.
    step_weights = min(weights.per_token + shape.hidden_size * shape.vocab_size, weights.total)
    return predict_seconds(
        shape,
        rung,
        calibration.rates,
        tokens=need.document_tokens + need.prompt_tokens,
        answer_tokens=need.max_new_tokens,
        layer_weights=weights.per_token,
        step_bytes=shape.weights_bytes * step_weights // weights.total,
        fetch_s=fetch_s,
    )
