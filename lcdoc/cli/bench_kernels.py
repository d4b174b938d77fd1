"""`lcdoc bench kernels`: every kernel beside PyTorch's way to the same end."""

from statistics import median
from typing import TYPE_CHECKING, Annotated

import typer

from lcdoc.cli import options
from lcdoc.cli.bench import ResultFile
from lcdoc.cli.display import open_display
from lcdoc.cli.exits import INTERRUPTED
from lcdoc.cli.measuring import measure_all
from lcdoc.cli.tables import print_table, split_numbers

if TYPE_CHECKING:
    from lcdoc.bench.kernels import KernelTimes

Shape = Annotated[str, typer.Option(help="Heads of this shape: llama-tiny, smollm2-135m or llama-3-8b.")]
Lengths = Annotated[str, typer.Option(metavar="N,N,...", help="Tokens read before.")]
Repeats = Annotated[int, typer.Option(help="How often each is measured.")]
ChunkTokens = Annotated[int, typer.Option(help="Tokens read at once.", min=1)]


def bench_kernels_command(
    shape: Shape = "smollm2-135m",
    lengths: Lengths = "1024,4096",
    repeats: Repeats = 5,
    chunk_tokens: ChunkTokens = 1024,
    device: options.Device = None,
    dtype: options.Dtype = None,
    json: ResultFile = None,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Measure every kernel beside PyTorch: compiled on CUDA, elsewhere the plain versions."""
    settings = options.settings_of(quiet=quiet, no_color=no_color, device=device, dtype=dtype)
    display = open_display(settings.appearance)
    from lcdoc.bench.kernels import KernelBench

    read = settings.read
    bench = KernelBench(
        shape, split_numbers(lengths, "--lengths"), repeats, chunk_tokens, read.device, read.dtype
    )
    if not measure_all(bench, bench.run(), _line, "{} measurements".format, json, display):
        return INTERRUPTED
    columns = ["tokens, kernel", "ms", "least-most", "a second", "PyTorch"]
    print_table("kernels", columns, [_row(times) for times in bench.times])
    return 0


def _line(times: "KernelTimes") -> str:
    return (
        f"{times.length_tokens:,} tokens: {times.operation} {median(times.samples_s) * 1000:.2f} ms "
        f"({times.reference} took {times.reference_to_own:.2f} times as much)"
    )


def _row(times: "KernelTimes") -> list[str]:
    least, middle, most = (of(times.samples_s) * 1000 for of in (min, median, max))
    return [
        f"{times.length_tokens:,} {times.operation}",
        f"{middle:.2f}",
        f"{least:.2f}-{most:.2f}",
        _rate(times.rate_per_s, times.unit),
        f"{times.reference_to_own:.2f}x",
    ]


def _rate(per_s: float, unit: str) -> str:
    return f"{per_s / 1e9:,.1f} G{unit}"
