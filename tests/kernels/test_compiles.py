"""Every Triton kernel compiles for an H100, without one."""

import subprocess
import sys

import pytest

# Tells types by names: p_ points to bfloat16 but where SPECIAL says otherwise, and capitals are constants.
SCRIPT = """
import importlib, inspect, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SPECIAL = {"p_lse": "*fp32", "p_shares": "*fp32", "p_lists": "*i32", "p_counts": "*i32", "p_codes": "*u8"}
SIZES = {"GROUP": 4, "HEAD_DIM": 128, "WIDTH": 128, "SAMPLES": 8, "ROWS": 64, "COLUMNS": 64}
module = importlib.import_module(f"lcdoc.kernels.{sys.argv[1]}.fused")
kernel = getattr(module, sys.argv[2])
signature, constants = {}, {}
for name in kernel.arg_names:
    if name.isupper():
        signature[name], constants[(kernel.arg_names.index(name),)] = "constexpr", SIZES[name]
    elif name.startswith("p_"):
        signature[name] = SPECIAL.get(name, "*bf16")
    else:
        signature[name] = "fp32" if name.startswith("scale") else "i32"
source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
assert "mma" in compiled.asm["ptx"] and compiled.asm["cubin"]
"""

KERNELS = [
    ("block_score", "score_kernel"),
    ("block_sparse_prefill", "attend_kernel"),
    ("sink_window_prefill", "attend_kernel"),
]


@pytest.mark.parametrize(("operation", "kernel"), KERNELS, ids=[operation for operation, _ in KERNELS])
def test_it_compiles_for_sm_90(operation: str, kernel: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, operation, kernel], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
