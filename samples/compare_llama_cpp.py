"""Measures llama.cpp on a GGUF file, to compare its speed with that of `lcdoc bench` on the same file and machine.

Run by hand, in a virtual environment of its own, where llama.cpp is built for this processor:

    python -m venv lcp && lcp/bin/pip install --no-binary llama-cpp-python llama-cpp-python
    OMP_WAIT_POLICY=active lcp/bin/python samples/compare_llama_cpp.py MODEL.gguf --threads 2 --json llama.json
    lcdoc bench prefill --lengths 1024,4096,8000 --modes exact,duo@75%
    lcdoc bench decode --lengths 1024,4096,8000 --modes exact,duo@75% --weights int4

For each length random tokens are read, then 32 more decoded one by one, three times; nothing is sampled. How threads
wait for each other matters much to llama.cpp's decoding, little to its reading: `active` is its quickest on idle cores.
"""

import argparse
import json
import os
import platform
import random
import statistics
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from llama_cpp import Llama

REPEATS, DECODE_TOKENS = 3, 32


def measure(model: Path, length: int, threads: int) -> dict[str, Any]:
    """Seconds to read `length` tokens, and for each token decoded after them."""
    llama = Llama(
        str(model),
        n_ctx=length + 2 * DECODE_TOKENS,
        n_threads=threads,
        n_threads_batch=threads,
        verbose=False,
    )
    draw = random.Random(length)
    ids = [draw.randrange(llama.n_vocab()) for _ in range(length)]
    prefill_s, decode_s = [], []
    for _ in range(REPEATS):
        llama.reset()
        started = time.perf_counter()
        llama.eval(ids)
        prefill_s.append(time.perf_counter() - started)
        llama.eval(ids[:1])  # warms up
        started = time.perf_counter()
        for token_id in ids[:DECODE_TOKENS]:
            llama.eval([token_id])
        decode_s.append((time.perf_counter() - started) / DECODE_TOKENS)
    return {
        "length_tokens": length,
        "prefill_samples_s": prefill_s,
        "prefill_tokens_per_s": length / statistics.median(prefill_s),
        "decode_samples_s": decode_s,
        "decode_tokens_per_s": 1 / statistics.median(decode_s),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lengths", default="1024,4096,8000")
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args()
    report: dict[str, Any] = {
        "suite": "llama.cpp",
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {"llama-cpp-python": version("llama-cpp-python"), "python": platform.python_version()},
        "machine": {"platform": platform.platform(), "threads": options.threads},
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "model": options.model.name,
        "results": [],
    }
    for length in map(int, options.lengths.split(",")):
        found = measure(options.model, length, options.threads)
        speeds = f"{found['prefill_tokens_per_s']:.0f} read, {found['decode_tokens_per_s']:.1f} decoded"
        sys.stderr.write(f"{length:,} tokens: {speeds} a second\n")
        report["results"].append(found)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
