"""lcdoc.engine.calibration: measured on this machine, kept, and trusted only when whole."""

import json
import os
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate.utils import OffloadedWeightsLoader

from lcdoc.engine.calibration import (
    CALIBRATION_VERSION,
    Machine,
    calibrate,
    load_calibration,
    store_calibration,
)
from lcdoc.engine.fetching import FetchRate, measure_fetching

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def calibration():
    return calibrate(CPU, torch.float32)


def test_what_is_measured_is_kept_to_the_digit(calibration, tmp_path):
    folder = tmp_path / "not" / "there"
    store_calibration(folder, calibration)
    assert load_calibration(folder, Machine.this(CPU, torch.float32)) == calibration
    assert [path.name for path in folder.iterdir()] == [calibration.machine.file_name]


def test_every_rate_is_there(calibration):
    rates = calibration.rates
    assert {(rate.rows, rate.width) for rate in rates.linear} >= {(128, 512), (1024, 2048)}
    assert set(rates.unpacked_per_s) == {"bfloat16", "int8", "int4"}
    # Wide bounds that any processor is within: a wrong unit or a forgotten factor of a thousand is not.
    for flops in (rates.causal_flops_per_s, rates.dense_flops_per_s, *(r.flops_per_s for r in rates.linear)):
        assert 1e8 < flops < 1e14
    assert 1e8 < rates.bytes_per_s < 1e12 and 1e7 < rates.attended_bytes_per_s < 1e13
    assert 1e-6 < rates.layer_step_s < 1
    assert set(rates.fetched) == {"cached", *(["disk"] if hasattr(os, "posix_fadvise") else [])}
    for rate in rates.fetched.values():
        assert 1e6 < rate.bytes_per_s < 1e13 and 1e-5 < rate.layer_s < 10


def test_files_to_fetch_are_written_where_offloaded_layers_are_and_removed(tmp_path, monkeypatch):
    seen = []

    class Loader(OffloadedWeightsLoader):
        def __getitem__(self, name):
            seen.append((Path(self.index[name]["safetensors_file"]), super().__getitem__(name)))
            return seen[-1][1]

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr("accelerate.utils.OffloadedWeightsLoader", Loader)
    weight = torch.arange(64 * 32.0).view(64, 32)
    assert measure_fetching(CPU, weight, 1e-4).keys() >= {"cached"}
    assert {path.parents[1] for path, _ in seen} == {tmp_path} and not list(tmp_path.iterdir())
    assert torch.equal(torch.cat([rows for _, rows in seen[:8]]), weight)


def test_without_room_for_files_the_other_rates_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    assert measure_fetching(CPU, torch.ones(64, 32), 1e-4) == {}


def test_a_fetch_takes_as_long_as_all_its_places_together(calibration):
    rates = replace(calibration.rates, fetched={"memory": FetchRate(1, 100), "disk": FetchRate(2, 10)})
    assert rates.fetch_s({}, 200) == 0
    assert rates.fetch_s({"memory": 4, "disk": 1}, 200) == 4 * (1 + 2) + 1 * (2 + 20)
    assert rates.fetch_s({"cached": 1}, 200) is None


def test_nothing_is_kept_for_another_machine(calibration, tmp_path):
    store_calibration(tmp_path, calibration)
    machine = calibration.machine
    others = (
        replace(machine, threads=machine.threads + 1),
        replace(machine, dtype="bfloat16"),
        replace(machine, torch_version="0.1"),
        replace(machine, device="another"),
    )
    for other in others:
        assert load_calibration(tmp_path, other) is None
        # Not even under the other's name.
        (tmp_path / other.file_name).write_bytes((tmp_path / machine.file_name).read_bytes())
        assert load_calibration(tmp_path, other) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace(f'"version": {CALIBRATION_VERSION}', '"version": 0'),
        lambda text: text.replace('"bytes_per_s": ', '"bytes_per_s": -'),
        lambda text: text.replace('"bytes_per_s"', '"bytes"'),
        lambda text: json.dumps(json.loads(text) | {"rates": {}}),
        lambda text: text.replace('"fetched": {', '"fetched": [], "x": {'),
        lambda text: text.replace('"layer_step_s": ', '"layer_step_s": NaN, "x": '),
        lambda text: text.replace('"rows": 128', '"rows": "many"'),
    ],
    ids=["empty", "cut", "list", "version", "negative", "renamed", "no-rates", "no-places", "nan", "text"],
)
def test_a_damaged_file_counts_as_none(calibration, tmp_path, damage):
    store_calibration(tmp_path, calibration)
    path = tmp_path / calibration.machine.file_name
    before = path.read_text(encoding="utf-8")
    path.write_text(damage(before), encoding="utf-8")
    assert path.read_text(encoding="utf-8") != before
    assert load_calibration(tmp_path, calibration.machine) is None
    store_calibration(tmp_path, calibration)
    assert load_calibration(tmp_path, calibration.machine) == calibration


def test_a_folder_that_cannot_be_written_raises_and_leaves_nothing(calibration, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OSError):
        store_calibration(tmp_path / "file" / "inside", calibration)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
