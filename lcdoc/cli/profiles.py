"""`lcdoc profiles`: the head profiles that duo mode can use."""

import typer

from lcdoc.cli.display import Lines
from lcdoc.cli.sanitize import clean_line
from lcdoc.engine.profiles import GATE_THRESHOLD, load_profile, shipped_profiles


def print_profiles() -> None:
    names = shipped_profiles()
    for name in names:
        profile = load_profile(name)
        typer.echo(clean_line(f"{name}: for {profile.model}; {profile.source}"))
    if not names:
        Lines().say("no head profiles are shipped; --profile also takes a YAML file")


def print_profile(name: str) -> None:
    """Sizes, source, and a row of gates for each layer."""
    profile = load_profile(name)
    gates = [gate for row in profile.gates for gate in row]
    streaming = sum(gate < GATE_THRESHOLD for gate in gates)
    typer.echo(f"model        {clean_line(profile.model)}")
    typer.echo(f"source       {clean_line(profile.source)}")
    typer.echo(f"sink size    {profile.sink_size:,} tokens")
    typer.echo(f"recent size  {profile.recent_size:,} tokens")
    typer.echo(f"heads        {len(gates) - streaming} retrieval, {streaming} streaming")
    for layer, row in enumerate(profile.gates):
        typer.echo(f"layer {layer:<6} {' '.join(f'{gate:.2f}' for gate in row)}")
