"""`lcdoc bench gpu`: all that is measured on a GPU, in one run of a few minutes."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lcdoc.cli import options
from lcdoc.cli.bench import ResultFile
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.measures import bytes_text
from lcdoc.cli.measuring import measure_all
from lcdoc.cli.tables import print_table

Shape = Annotated[str, typer.Option(help="Random weights of this shape.")]
DeadlineS = Annotated[
    float, typer.Option("--deadline", metavar="SECONDS", help="Nothing is begun that can't end by then.")
]


def bench_gpu_command(
    shape: Shape = "llama-3-8b",
    deadline: DeadlineS = 480,
    device: options.Device = "cuda",
    dtype: options.Dtype = "bfloat16",
    json: ResultFile = None,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Measure kernels, reading, answering and a budget on a CUDA device, with random weights."""
    settings = options.settings_of(quiet=quiet, no_color=no_color, device=device, dtype=dtype)
    display = open_display(settings.appearance)
    from lcdoc.bench.gpu import GpuBench

    bench = GpuBench(shape, deadline, settings.read.device, settings.read.dtype)

    def line(result: Mapping[str, Any]) -> str:
        return f"{result['item']}: {_said(result)}"

    if not measure_all(bench, bench.run(), line, "{} measurements".format, json, display):
        return INTERRUPTED
    rows = [[result["item"], result["status"], _said(result)] for result in bench.results]
    print_table("gpu", ["item", "", "found"], rows)
    return 0


def _said(result: Mapping[str, Any]) -> str:
    """What was found, or why nothing was; both where it was cut."""
    found = _found(result)
    return "; ".join(filter(None, (found, result["reason"])))


def _found(result: Mapping[str, Any]) -> str:
    if "bytes_per_s" in result:
        return f"{result['bytes_per_s'] / 1e9:,.0f} GB/s"
    if "flops_per_s" in result:
        rates = result["flops_per_s"].items()
        return ", ".join(f"{name} {rate / 1e12:,.1f} TFLOP/s" for name, rate in rates)
    parts = []
    if "median_s" in result:
        parts.append(f"{result['median_s'] * 1000:.2f} ms a token")
    if "share_of_bound" in result:
        parts.append(f"{result['share_of_bound']:.0%} of the bound")
    if "tokens_read" in result:
        parts.append(
            f"{result['tokens_read']:,} tokens in {result['read_s']:.1f} s ({result['tokens_per_s']:,.0f} tokens/s)"
        )
    if result.get("made_up_tokens"):
        parts.append(f"after {result['made_up_tokens']:,} that were made up")
    if "extrapolated_s" in result:
        parts.append(
            f"{len(result['chunk_s'])} chunks of {result['layers_run']} of {result['layers']} layers were run: all "
            f"would take {result['extrapolated_s']:.1f} s"
        )
    if "times_dense" in result:
        parts.append(f"{result['times_dense']:.1f} times as fast as dense")
    if "peak_bytes" in result:
        parts.append(
            f"peak {bytes_text(result['peak_bytes'])} of {bytes_text(result['budget_bytes'])}, foretold "
            f"{bytes_text(result['predicted_peak_bytes'])}"
        )
    return ", ".join(parts)
