"""`lcdoc profiles`: the head profiles that duo mode can use."""

from statistics import median
from typing import Any

import typer

from lcdoc.cli.display import Lines
from lcdoc.cli.heatmap import print_gates
from lcdoc.cli.sanitize import clean_line
from lcdoc.config import resolve
from lcdoc.engine.profiles import GATE_THRESHOLD, HeadProfile, load_profile, shipped_profiles

COLUMNS = ("name", "model", "layers x heads", f"below {GATE_THRESHOLD}", "median gate")

# Of a longer list, such as a loss at every tenth step, the first and the last are shown.
MAX_LISTED = 6


def print_profiles() -> None:
    """A row for each shipped profile; never cut, so that names can be copied."""
    rows = [[clean_line(cell) for cell in (name, *_row(load_profile(name)))] for name in shipped_profiles()]
    if not rows:
        Lines().say("no head profiles are shipped; --profile also takes a YAML file")
        return
    table = [list(COLUMNS), *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(COLUMNS))]
    for row in table:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())


def print_profile(name: str) -> None:
    """Sizes, source, what is known of the measuring, and the gates."""
    profile = load_profile(name)
    wide = profile.prefill_recent_size
    facts = {
        "model": profile.model,
        "source": profile.source,
        "sink size": f"{profile.sink_size:,} tokens",
        "recent size": f"{profile.recent_size:,} tokens"
        + (f", {wide:,} while reading" if wide and wide > profile.recent_size else ""),
    }
    if profile.gates:
        _, shape, below, middle = _row(profile)
        facts |= {"layers x heads": shape, "gates": f"{below} below {GATE_THRESHOLD}, median {middle}"}
    for label, value in facts.items():
        typer.echo(f"{label:18}{clean_line(value)}")
    for name, mapping in (("measured", profile.measured), ("rope", profile.rope)):
        if mapping:
            typer.echo(name)
            for key, fact in mapping.items():
                typer.echo(f"  {clean_line(str(key)):15} {clean_line(_fact(fact))}")
    if profile.gates:
        print_gates(profile, colors=resolve({}).appearance.color != "never")


def _row(profile: HeadProfile) -> tuple[str, str, str, str]:
    """Model, shape, share of low gates, median."""
    gates = [gate for row in profile.gates for gate in row]
    share = sum(gate < GATE_THRESHOLD for gate in gates) / len(gates)
    shape = f"{len(profile.gates)} x {len(profile.gates[0])}"
    return profile.model, shape, f"{share:.0%}", f"{median(gates):.2f}"


def _fact(fact: Any) -> str:
    if isinstance(fact, dict):
        return ", ".join(f"{key} {_fact(value)}" for key, value in fact.items())
    if isinstance(fact, list):
        if len(fact) > MAX_LISTED:
            return f"{_fact(fact[0])} ... {_fact(fact[-1])} ({len(fact)} of them)"
        return ", ".join(_fact(value) for value in fact)
    return f"{fact:,}" if isinstance(fact, int) else str(fact)
