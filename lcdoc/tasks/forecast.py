"""How a document would be read within the budget, by every way there is, without loading any weights."""

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from tempfile import gettempdir
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.budget import ModelShape, Rung
from lcdoc.engine.calibration import (
    Calibration,
    Machine,
    calibrate,
    load_calibration,
    store_calibration,
)
from lcdoc.engine.extension import Extension
from lcdoc.engine.seconds import Seconds, predict_seconds
from lcdoc.errors import DoesNotFitError, UsageError
from lcdoc.models import WeightCount, count_weights, fetched_from, layer_bytes, weights_bytes
from lcdoc.models.folders import calibrations_folder
from lcdoc.tasks.exact import ExactChange, find_exact_change
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.place import Place
from lcdoc.tasks.plan import list_rungs, make_plan
from lcdoc.tasks.room import Need, context_window, settle
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
    """weights_bytes: as they are loaded. extension: how positions go beyond the window. ways: the least lossy first.
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
    if not subject.installed and all_tokens > window and settings.extend is None:
        config = _with_window(config, all_tokens)
        notes.append(f"the model's window is {window:,} tokens; this plans as if it were extended")
    own_bytes = weights_bytes(config, place.dtype)
    shape = ModelShape.from_config(
        config,
        weights_bytes(config, place.dtype, settings.weights),
        place.dtype,
        layer_bytes(config, place.dtype),
    )
    room, chosen, refusal = None, None, None
    try:
        need, room = settle(config, settings, need, shape)
        notes += [room.note] if room.note else []
        limits = {"base_bytes": place.base_bytes, "budget_bytes": place.budget_bytes}
        chosen = make_plan(config, settings, need, shape, **limits).rung
    except DoesNotFitError as error:
        refusal = str(error)
    capacity_tokens = room.capacity_tokens if room else all_tokens
    extension = room.extension if room else None
    sizes = capacity_tokens, place.base_bytes, place.budget_bytes
    rungs = list(list_rungs(settings, shape, *sizes, need, extension))
    exact = None
    if chosen is None or chosen.loss:
        binding = window if subject.installed else None
        unrounded = replace(shape, weights_bytes=own_bytes)
        exact = find_exact_change(settings, unrounded, need, place, binding, subject.tokenized)
    calibration = _calibration(place, recalibrate, say) if place.here else None
    if calibration is None:
        notes.append(f"no times: {settings.device} is not on this machine")
    ways = tuple(
        Way(
            rung,
            _seconds(shape, rung, calibration, need, weights, place) if calibration else None,
            room is not None and rung.peak_bytes <= place.budget_bytes,
        )
        for rung in rungs
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


def _calibration(place: Place, recalibrate: bool, say: Say) -> Calibration:
    """What is known of this machine, measured now where nothing is."""
    folder, machine = calibrations_folder(), Machine.this(place.device, place.dtype)
    known = None if recalibrate else load_calibration(folder, machine)
    if known is not None:
        return known
    say(f"measuring how fast {machine.device} computes in {machine.dtype}, once: a few seconds")
    measured = calibrate(place.device, place.dtype)
    try:
        store_calibration(folder, measured)
    except OSError as error:
        say(f"the measurement can't be kept in {folder}: {error.strerror}")
    return measured


def _seconds(
    shape: ModelShape, rung: Rung, calibration: Calibration, need: Need, weights: WeightCount, place: Place
) -> Seconds | None:
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
