"""Products on a CPU find their kernels: a step of decoding makes none that the last one had."""

import subprocess
import sys

import pytest
import torch

from lcdoc.engine.packed_linear import packs
from lcdoc.models.heap import KEPT_KERNELS, KERNEL_CACHES

STEPS = """
import torch
torch.set_num_threads(1)
from lcdoc.bench.speed import random_ids
from lcdoc.bench.subject import Subject
from lcdoc.config import ReadSettings
from lcdoc.engine.sampling import Sampler
from lcdoc.evaluate.modes import open_reader
model = Subject(shape="smollm2-2-layers", dtype="bfloat16").load()
reader = open_reader(model, "exact", ReadSettings(), 2500)
reader.read(random_ids(model, 2100))
for _ in reader.decode(Sampler(), (), 4):
    print("step", flush=True)
"""


@pytest.mark.skipif(
    not packs(torch.device("cpu"), torch.bfloat16), reason="products in bfloat16 are not oneDNN's"
)
def test_a_step_of_decoding_makes_no_kernel_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KERNEL_CACHES:
        monkeypatch.setenv(name, str(KEPT_KERNELS))
    monkeypatch.setenv("ONEDNN_VERBOSE", "profile_create")
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    first, *later = done.stdout.split("step\n")[1:]
    assert len(later) == 3 and "cache_miss" in first
    for step in later[:-1]:  # behind the last one there is nothing
        assert "cache_hit" in step and "cache_miss" not in step
