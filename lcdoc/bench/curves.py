"""What a bench measured against the length that was read, as a picture."""

from pathlib import Path
from typing import Any

from lcdoc.bench.run import UNITS
from lcdoc.evaluate.plots import save_picture

MEASURED = {"prefill": "seconds to read", "decode": "seconds a token", "memory": "peak bytes"}


def draw_curves(what: str, report: dict[str, Any], path: Path) -> None:
    """A line for each mode through the medians, in the range of all that was measured, as a PNG; both axes by powers.
    what: one of MEASURED. report: what such a bench has, of one length at least. Raises LcdocError where it can't be
    written."""
    from matplotlib.figure import Figure

    unit, results = UNITS[what], report["results"]
    lengths = [result["length_tokens"] for result in results]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for mode in results[0]["modes"]:
        own = [result["modes"][mode] for result in results]
        median, least, most = ([one[f"{kind}_{unit}"] for one in own] for kind in ("median", "min", "max"))
        axes.plot(lengths, median, marker="o", label=mode)
        axes.fill_between(lengths, least, most, alpha=0.2)
    axes.set(
        xscale="log", yscale="log", xlabel="tokens", ylabel=MEASURED[what], title=report["model"]["name"]
    )
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save_picture(figure, path)
