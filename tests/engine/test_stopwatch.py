"""lcdoc.engine.stopwatch and what rates are made of it, on a machine that does other things meanwhile."""

import time

import pytest
import torch

from lcdoc.engine.rates import LinearRate, undisturbed
from lcdoc.engine.stopwatch import MAX_RUNS, measure_s

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("taken_s", "found_s", "num_runs"),
    [
        ([0.010] * 30, 0.010, 16),
        ([0.001] * 30, 0.001, MAX_RUNS),
        ([0.200, 0.010, 0.011, 0.012], 0.010, 4),
        ([0.010, 0.170, 0.160, 0.011], 0.010, 4),
        ([0.300, 0.400, 0.010], 0.300, 2),
        ([2.0, 1.0], 2.0, 1),
    ],
    ids=["alike", "short", "disturbed-first", "disturbed-later", "long", "very-long"],
)
def test_the_fastest_of_several_runs_counts(monkeypatch, taken_s, found_s, num_runs):
    now_s, left = [0.0], list(taken_s)
    monkeypatch.setattr(time, "perf_counter", lambda: now_s[0])

    def work():
        now_s[0] += left.pop(0)

    assert measure_s(CPU, work) == pytest.approx(found_s)
    assert len(taken_s) - len(left) == num_runs


@pytest.mark.parametrize(
    ("short", "long", "wanted"),
    [
        (20e9, 25e9, (20e9, 25e9)),
        (3e9, 44e9, (5.5e9, 44e9)),
        (20e9, 4e9, (20e9, 20e9)),
    ],
    ids=["as-measured", "short-disturbed", "long-disturbed"],
)
def test_no_chunk_takes_longer_than_a_longer_one_nor_more_for_each_token(short, long, wanted):
    """Rates for chunks of 128 and of 1,024 tokens; those of other widths have no say."""
    measured = [LinearRate(128, 512, short), LinearRate(1024, 512, long), LinearRate(128, 2048, 1e12)]
    assert [rate.flops_per_s for rate in undisturbed(measured)] == [*wanted, 1e12]
