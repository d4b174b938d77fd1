"""lcdoc.tasks.forecast: what would make a reading exact, and what can't be planned at all."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lcdoc.cli.plan_words import budget_text, exact_line
from lcdoc.config import ReadSettings
from lcdoc.engine.calibration import Calibration, Machine
from lcdoc.engine.fetching import FetchRate
from lcdoc.engine.memory import MemoryMeter
from lcdoc.engine.rates import LinearRate, Rates
from lcdoc.engine.sparse_prefill import SparseRate
from lcdoc.errors import UsageError
from lcdoc.tasks.forecast import Forecast, Way, make_forecast
from lcdoc.tasks.place import Place
from lcdoc.tasks.subject import Subject

LLAMA_3_8B = Path(__file__).parents[1] / "data" / "configs" / "llama-3-8b.json"


@pytest.fixture(autouse=True)
def no_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """No CUDA device is here, whatever the machine has."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


def forecast(tokens: int, budget: str | None = "24GB", recalibrate: bool = False, **settings) -> Forecast:
    read = ReadSettings(**{"device": "cuda", "budget": budget, **settings})
    said: list[str] = []
    made = make_forecast(
        Subject.of_config(tokens, LLAMA_3_8B), read, 512, recalibrate=recalibrate, say=said.append
    )
    assert not said, "nothing is measured for a device that isn't here"
    return made


@pytest.mark.parametrize("tokens", [100_000, 1_000_000, 1 << 20])
def test_the_budget_that_is_advised_reads_exactly_and_one_byte_less_than_needed_does_not(tokens: int) -> None:
    made = forecast(tokens)
    assert made.exact is not None and made.exact.possible
    size = budget_text(made.exact.budget_bytes)
    assert f"--budget {size};" in exact_line(made)
    assert forecast(tokens, size).exact is None
    assert forecast(tokens, f"{made.exact.budget_bytes}B").exact is None
    less = forecast(tokens, f"{made.exact.budget_bytes - 1}B")
    assert less.chosen is not None and less.chosen.rung.loss


def test_the_most_tokens_that_are_read_exactly() -> None:
    made = forecast(1_000_000)
    assert made.exact is not None
    most = made.exact.tokens
    assert f"no more than {most:,} tokens" in exact_line(made)
    assert forecast(most).exact is None
    assert forecast(most + 1).exact is not None


def test_a_lossy_mode_that_was_asked_for_is_what_to_change() -> None:
    made = forecast(8000, mode="stream", kv_dtype="int8")
    assert made.chosen is not None and made.chosen.rung.loss
    assert exact_line(made) == "to read it exactly: --mode exact --kv-dtype model within this budget"
    assert forecast(8000, mode="exact", kv_dtype="model").exact is None


def test_weights_beyond_the_budget_leave_room_for_nothing() -> None:
    made = forecast(1000, "2GB")  # less than what is in no layer
    assert made.chosen is None and made.refusal is not None and not any(way.fits for way in made.ways)
    assert made.exact is not None and made.exact.tokens == 0
    assert "a smaller --model" in exact_line(made)


def test_weights_a_little_beyond_the_budget_leave_the_device() -> None:
    made = forecast(1000, "10GB")
    assert made.chosen is not None and made.chosen.rung.offloaded_bytes > 6e9
    assert made.chosen.rung.loss == "" and made.refusal is None


def test_float32_elsewhere_takes_twice_the_weights() -> None:
    half, full = forecast(1000), forecast(1000, "64GB", dtype="float32")
    # And the few numbers that positions are turned by.
    assert 0 <= half.weights_bytes - 2 * 8_030_261_248 < 1024
    assert 0 <= full.weights_bytes - 4 * 8_030_261_248 < 1024


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"budget": None}, "--budget 24GB"),
        ({"budget": "50%"}, "50%"),
        ({"recalibrate": True}, "--recalibrate"),
        ({"mode": "duo"}, "--profile"),
        ({"profile": "gone.yaml"}, "gone.yaml"),
        ({"mode": "exact", "kv_dtype": "int8"}, "--kv-dtype int8"),
    ],
    ids=str,
)
def test_what_cannot_be_planned(settings: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        forecast(1000, **settings)


def test_a_device_of_this_machine_is_measured_as_ask_measures_it() -> None:
    place = Place.of(ReadSettings(device="cpu", budget="7GB", dtype="float32"))
    meter = MemoryMeter(place.device)
    assert place.here and place.total_bytes == meter.total_bytes() and place.budget_bytes == 7 * 10**9
    assert abs(place.base_bytes - meter.base_bytes()) < 16 << 20


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [(5_123_000_000, "5.2GB"), (5_100_000_000, "5.1GB"), (640_000_001, "641MB"), (10**9, "1.0GB")],
)
def test_sizes_as_the_budget_takes_them(size_bytes: int, text: str) -> None:
    assert budget_text(size_bytes) == text


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Says what is known of this machine: how fast weights that are off the device come to it."""

    def set_rates(**bytes_per_s: float) -> None:
        fetched = {place: FetchRate(1e-9, rate) for place, rate in bytes_per_s.items()}
        rates = Rates(
            (LinearRate(1, 1, 1e9),), 1e9, 1e9, {}, 1e9, 1e9, 0.0, fetched, {"model": SparseRate(1, 1.0)}, 1
        )
        calibration = Calibration(Machine("here", "bfloat16", 1, torch.__version__), "2026-01-01", rates)
        monkeypatch.setattr("lcdoc.tasks.forecast.known_calibration", lambda *_, **__: calibration)

    return set_rates


@pytest.mark.parametrize(("free_bytes", "place"), [(1 << 40, "cached"), (8 << 30, "disk")])
def test_offloaded_weights_take_longer_by_what_is_fetched_each_time(
    measured: Callable[..., None], monkeypatch: pytest.MonkeyPatch, free_bytes: int, place: str
) -> None:
    class Memory:
        available = total = free_bytes

    monkeypatch.setattr("psutil.virtual_memory", lambda: Memory)
    # The process grows by a page now and then, also between the two forecasts.
    monkeypatch.setattr(MemoryMeter, "base_bytes", lambda meter: 300 << 20)

    def offloaded(**rates: float) -> Way:
        measured(**rates)
        made = forecast(1000, "12GB", device="cpu", dtype="bfloat16")
        assert made.chosen is not None and made.chosen.rung.offloaded_layers and not made.notes
        return made.chosen

    fast, slow = (offloaded(**{"cached": 1e30, "disk": 1e30, place: rate}) for rate in (1e30, 1e9))
    size = slow.rung.offloaded_bytes
    assert size > 4e9 and fast.rung == slow.rung and fast.seconds and slow.seconds
    passes = -(-(1000 + 256) // 128)
    assert slow.seconds.prefill_s - fast.seconds.prefill_s == pytest.approx(passes * size / 1e9)
    assert slow.seconds.answer_s - fast.seconds.answer_s == pytest.approx(512 * size / 1e9)


def test_where_files_could_not_be_measured_the_plan_says_so(measured: Callable[..., None]) -> None:
    measured()
    made = forecast(1000, "12GB", device="cpu", dtype="bfloat16")
    assert all((way.seconds is None) == bool(way.rung.offloaded_layers) for way in made.ways)
    assert sum("no time for offloaded weights" in note for note in made.notes) == 1
    resident = forecast(1000, "200GB", device="cpu", dtype="bfloat16")
    assert all(way.seconds for way in resident.ways) and not resident.notes
