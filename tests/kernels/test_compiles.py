"""Every Triton kernel compiles for an H100, without one."""

import os
import re
import subprocess
import sys
from pathlib import Path

from lcdoc.kernels.attend import naive

# Tells types by names: p_ points to bfloat16 but where SPECIAL says otherwise, and capitals are constants, of the sizes
# here or those behind the kernel's name.
SCRIPT = """
import importlib, inspect, sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

SPECIAL = {
    **dict.fromkeys(("p_lse", "p_near_lse", "p_shares", "p_scores", "p_parts", "p_part_lses"), "*fp32"),
    **dict.fromkeys(("p_lists", "p_counts", "p_num_tokens"), "*i32"),
    **dict.fromkeys(("p_key_scales", "p_key_least", "p_value_scales", "p_value_least"), "*fp16"),
    "p_codes": "*u8",
    "p_kept": "*i64",
}
SIZES = {
    **dict.fromkeys(("HEAD_DIM", "WIDTH"), 128),
    **dict.fromkeys(("ROWS", "COLUMNS", "HALF", "SPLITS"), 64),
    **{"GROUP": 4, "SAMPLES": 8, "RUNS": 4, "PAGE": 4, "LISTED": True, "BOUNDED": True},
}
for word in sys.argv[1:]:
    path, *options = word.split()
    operation, name = path.split(".")
    kernel = getattr(importlib.import_module(f"lcdoc.kernels.{operation}.fused"), name)
    sizes = {**SIZES, **{option.split("=")[0]: int(option.split("=")[1]) for option in options}}
    sizes |= {"MIDDLE": 2.0 ** (sizes.get("BITS", 8) - 1), "MOST": 2.0 ** sizes.get("BITS", 8) - 1}
    codes = "*bf16" if sizes.get("BITS") == 16 else "*u8"
    special = {**SPECIAL, "p_key_codes": codes, "p_value_codes": codes}
    if operation == "append_quantize":
        special |= dict.fromkeys(("p_scales", "p_least"), "*fp16")
    signature, constants = {}, {}
    for index, name in enumerate(kernel.arg_names):
        if name.isupper():
            signature[name], constants[(index,)] = "constexpr", sizes[name]
        elif name.startswith("p_"):
            signature[name] = special.get(name, "*bf16")
        else:
            signature[name] = "fp32" if name.startswith("scale") else "i32"
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 8})
    assert len(compiled.asm["cubin"]) > 0
    print(word, "with products" if "mma" in compiled.asm["ptx"] else "without")
"""

KERNELS = {
    "append_quantize.quantize_kernel BITS=8 PER_CHANNEL=1": "without",
    "append_quantize.quantize_kernel BITS=4 PER_CHANNEL=0": "without",
    **{f"block_score.score_kernel BITS={bits} ROWS=16 WIDTH=64": "with products" for bits in (16, 8, 4)},
    **{
        f"block_sparse_prefill.attend_kernel BITS={bits} ROWS=128 WIDTH=64": "with products"
        for bits in (16, 8, 4)
    },
    "compact.compact_kernel": "without",
    "page_score.score_kernel": "with products",
    "paged_decode.decode_kernel BITS=16 ROWS=16": "with products",
    "paged_decode.decode_kernel BITS=8 ROWS=16": "with products",
    "paged_decode.decode_kernel BITS=4 ROWS=16": "with products",
    "paged_decode.join_kernel": "without",
    "sink_window_prefill.attend_kernel": "with products",
}


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
    assert done.stdout.splitlines() == [f"{name} {how}" for name, how in KERNELS.items()], done.stderr


def test_every_kernel_is_listed() -> None:
    names = (
        f"{path.parent.name}.{name}"
        for path in sorted(Path(naive.__file__).parents[1].glob("*/fused.py"))
        for name in re.findall(r"@triton\.jit\ndef (\w+)", path.read_text(encoding="utf-8"))
    )
    assert list(names) == list(dict.fromkeys(kernel.split()[0] for kernel in KERNELS))
