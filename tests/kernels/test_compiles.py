"""Every Triton kernel compiles for an H100, without one."""

import os
import re
import subprocess
import sys
from pathlib import Path

from lcdoc.kernels.attend import naive

# Tells types by names: p_ points to bfloat16 but where SPECIAL says otherwise, and capitals are constants.
SCRIPT = """
import importlib, inspect, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SPECIAL = dict.fromkeys(("p_lse", "p_shares", "p_scores"), "*fp32")
SPECIAL |= {"p_lists": "*i32", "p_counts": "*i32", "p_codes": "*u8"}
SIZES = {"GROUP": 4, "HEAD_DIM": 128, "WIDTH": 128, "SAMPLES": 8, "ROWS": 64, "COLUMNS": 64, "PAGE": 4}
for word in sys.argv[1:]:
    operation, name = word.split(".")
    kernel = getattr(importlib.import_module(f"lcdoc.kernels.{operation}.fused"), name)
    signature, constants = {}, {}
    for index, name in enumerate(kernel.arg_names):
        if name.isupper():
            signature[name], constants[(index,)] = "constexpr", SIZES[name]
        elif name.startswith("p_"):
            signature[name] = SPECIAL.get(name, "*bf16")
        else:
            signature[name] = "fp32" if name.startswith("scale") else "i32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    print(word, "mma" in compiled.asm["ptx"] and len(compiled.asm["cubin"]) > 0)
"""

KERNELS = [
    "block_score.score_kernel",
    "block_sparse_prefill.attend_kernel",
    "page_score.score_kernel",
    "sink_window_prefill.attend_kernel",
]


def test_they_compile_for_sm_90(tmp_path: Path) -> None:
    env = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    env.pop("TRITON_INTERPRET", None)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *KERNELS],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == [f"{kernel} True" for kernel in KERNELS], done.stderr


def test_every_kernel_is_listed() -> None:
    names = (
        f"{path.parent.name}.{name}"
        for path in sorted(Path(naive.__file__).parents[1].glob("*/fused.py"))
        for name in re.findall(r"@triton\.jit\ndef (\w+)", path.read_text(encoding="utf-8"))
    )
    assert list(names) == KERNELS
