"""A process whose memory the system really limits: a chunk is refused, and the reading goes on."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from lcdoc.engine.attention import register
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.memory import AllocationFailed
from lcdoc.engine.reader import Reader

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=97, hidden_size=128, intermediate_size=65536, num_hidden_layers=1, num_attention_heads=2
)
model = LlamaForCausalLM(config).eval()
model.set_attn_implementation(register())
reader = Reader(model, HeadSplit.exact(), capacity_tokens=2048, chunk_tokens=64)
reader.read([5] * 64)
with open("/proc/self/status") as status:
    taken = next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmData"))
# A chunk of 1,024 asks for 256 MiB at once, one of 64 for 16 MiB.
resource.setrlimit(resource.RLIMIT_DATA, (taken + (200 << 20), resource.RLIM_INFINITY))
reader.chunk_tokens = 1024
try:
    reader.read([7] * 1024)
except AllocationFailed as failure:
    print(reader.seen_tokens, failure)
reader.step_down(split=HeadSplit.exact(), chunk_tokens=64, kv_dtype="int8", eviction=None)
reader.read([7] * 1024)
print(reader.seen_tokens)
"""


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux limits what a process may take of private memory"
)
def test_a_refusal_of_the_system_is_survived(cli_env):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**cli_env, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    refused, read_on = done.stdout.splitlines()
    assert (
        refused.startswith("64 an allocation failed: ") and "you tried to allocate 268435456 bytes" in refused
    )
    assert read_on == "1088"
