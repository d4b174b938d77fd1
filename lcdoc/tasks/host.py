"""A model on its device, within its budget: all that a reading needs besides its documents."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.attention import register
from lcdoc.engine.memory import MemoryMeter, allocating, release_unused
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.page_selection import PageSelection
from lcdoc.engine.sparse_prefill import SparsePrefill
from lcdoc.models import (
    choose_device,
    choose_dtype,
    layer_bytes,
    load_config,
    load_model,
    load_tokenizer,
    resolve,
    stored_weights,
    weights_bytes,
)
from lcdoc.tasks.own_profile import with_own_profile
from lcdoc.tasks.plan import Plan, make_plan
from lcdoc.tasks.room import Need
from lcdoc.tasks.speeds import known_calibration


class Host:
    """Readings may share one, one after the other; then the weights are loaded once. Making it loads none."""

    def __init__(self, settings: ReadSettings) -> None:
        """Of the settings it takes model, device, dtype and budget; how to read is said for each plan."""
        self.files = resolve(settings.model)
        self.tokenizer, self.config = load_tokenizer(self.files), load_config(self.files)
        self.device = choose_device(settings.device)
        self.dtype = choose_dtype(settings.dtype, self.device)
        self.meter = MemoryMeter(self.device)
        self._budget = settings.budget
        self._model: Any = None
        self._loaded: tuple[str, int] | None = None

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @cached_property
    def base_bytes(self) -> int:
        """What was taken when the first plan was made, before any weights."""
        return self.meter.base_bytes()

    @cached_property
    def budget_bytes(self) -> int:
        """What the process has to stay under, as the budget came to then."""
        return self.meter.budget_bytes(self._budget)

    def plan(self, settings: ReadSettings, need: Need) -> Plan:
        """As make_plan, for this model and budget."""
        return make_plan(
            self.config,
            with_own_profile(settings, self.files),
            need,
            self.shape(settings.weights),
            budget_bytes=self.budget_bytes,
            base_bytes=self.base_bytes,
        )

    def shape(self, weights: str) -> ModelShape:
        """What decides the model's memory, with its weights stored so."""
        sizes = (
            weights_bytes(self.config, self.dtype, weights),
            self.dtype,
            layer_bytes(self.config, self.dtype),
        )
        return ModelShape.from_config(self.config, *sizes, device=self.device)

    def sparse_prefill(self, say: Callable[[str], None]) -> SparsePrefill:
        """Reading by blocks, as it pays on this device. say hears what takes time."""
        return SparsePrefill(known_calibration(self.device, self.dtype, say).rates.sparse)

    def page_selection(self, when: str, say: Callable[[str], None]) -> PageSelection:
        """when: "on", or "auto" for where it pays on this device. say hears what takes time."""
        if when == "on":
            return PageSelection()
        rates = known_calibration(self.device, self.dtype, say).rates
        return PageSelection(from_tokens=rates.pages_from_tokens)

    def load(self, weights: str, offloaded_layers: int) -> Any:
        """The model, loaded anew only where it isn't there in this form; nobody may hold the one before then. Raises
        AllocationFailed where memory is refused."""
        form = stored_weights(weights, self.dtype), offloaded_layers
        if self._loaded != form:
            self._model = self._loaded = None
            release_unused()
            self.meter.enforce(self.budget_bytes)
            self._model = allocating(
                lambda: load_model(
                    self.files,
                    device=str(self.device),
                    dtype=self.dtype_name,
                    weights=form[0],
                    offloaded_layers=offloaded_layers,
                    packed=True,
                    attn_implementation=register(),
                )
            )
            self._loaded = form
        return self._model
