"""The options that commands share, each declared once."""

from pathlib import Path
from typing import Annotated, Any

import typer

from lcdoc.config import Settings, resolve

Files = Annotated[list[str], typer.Argument(metavar="FILE", help="Documents to read; - is stdin.")]
Model = Annotated[str | None, typer.Option(help="Model: a name, a hub id, a folder or a .gguf file.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Dtype = Annotated[str | None, typer.Option(help="auto, bfloat16, float16 or float32.")]
Weights = Annotated[
    str | None,
    typer.Option(help="How the model's weights are kept: model (as it computes), bf16, int8 or int4."),
]
Mode = Annotated[
    str | None,
    typer.Option(
        help="auto, exact (nothing dropped), stream (first and last tokens) or duo (by head profile)."
    ),
]
Profile = Annotated[
    str | None,
    typer.Option(
        help="Head profile: a shipped name, a YAML file or none; by default the model's own, if any."
    ),
]
Streaming = Annotated[
    str | None,
    typer.Option(
        help="Share of the heads that stream in mode duo, such as 75%, lowest gates first. By default those with a "
        "gate below 0.5."
    ),
]
Budget = Annotated[
    str | None,
    typer.Option(help="Most memory to take: 24GB, 512MiB or 50%; by default what is free, less a margin."),
]
KvDtype = Annotated[
    str | None,
    typer.Option(
        help="How keys and values are kept: auto (as the budget needs), model, bfloat16, int8, int4."
    ),
]
Evict = Annotated[
    str | None,
    typer.Option(
        help="Who judges which keys and values are dropped: question (what the question attends to), reconstruct "
        "(what repeating the text attends to), snapkv, h2o, tova, expected, keydiff or recent. By default nothing is "
        "dropped unless the budget needs it."
    ),
]
Keep = Annotated[
    str | None,
    typer.Option(help="How much of the document's keys and values stays: 25%, or 2000 tokens of each head."),
]
Extend = Annotated[
    str | None,
    typer.Option(
        help="How a document longer than the model's window is read beyond it: none, pi, ntk, yarn, longrope, "
        "self-extend, lm-infinite or auto."
    ),
]
Fusion = Annotated[
    str | None,
    typer.Option(
        help="Whether a document longer than the model's window is read in parts, and what bears on the question again "
        "together: auto (where it is not read beyond the window), parts, kv (in parts; not read again, but attended to "
        "together as it was read there: quicker, and weaker on very long documents) or off."
    ),
]
SinkSize = Annotated[int | None, typer.Option(help="First tokens that a streaming head keeps.")]
RecentSize = Annotated[int | None, typer.Option(help="Last tokens that a streaming head keeps.")]
ChunkTokens = Annotated[int | None, typer.Option(help="Tokens read at once.")]


def _on_or_off(text: str | None) -> bool | None:
    if text not in (None, "on", "off"):
        raise typer.BadParameter(f"{text!r} is not on or off")
    return None if text is None else text == "on"


SparsePrefill = Annotated[
    str | None,  # which becomes a bool
    typer.Option(
        callback=_on_or_off,
        metavar="on|off",
        help="Whether heads that keep everything read the document by blocks, and leave out those that can hardly "
        "matter, where that is quicker on this machine.",
    ),
]
PageSelection = Annotated[
    str | None,
    typer.Option(
        metavar="on|off|auto",
        help="Whether each token of an answer makes heads that keep everything attend to those pages alone that can "
        "matter to it most; auto where that is quicker on this machine.",
    ),
]
Store = Annotated[
    str | None,  # which becomes a bool
    typer.Option(
        callback=_on_or_off,
        metavar="on|off",
        help="Keep what was read on this disk, so that the next question about the document needs no reading. It holds "
        "the document's content.",
    ),
]
MaxSize = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE", help="Most that the store may take, such as 10GB; what was not used for longest goes."
    ),
]
Pages = Annotated[str | None, typer.Option(help="Only these pages, such as 12-40,50,60-.")]
Password = Annotated[
    str | None, typer.Option(envvar="LCDOC_PASSWORD", help="For an encrypted document.", show_default=False)
]
MaxNewTokens = Annotated[int | None, typer.Option(help="Longest answer, in tokens.")]
Temperature = Annotated[float | None, typer.Option(help="0 always takes the likeliest token.")]
TopP = Annotated[float | None, typer.Option(help="Share of the likeliest tokens to draw from.")]
Seed = Annotated[int | None, typer.Option(help="Start of the random draws.")]
BreakCircles = Annotated[
    str | None,  # which becomes a bool
    typer.Option(
        callback=_on_or_off,
        metavar="on|off",
        help="Lead an answer that says the same phrase over and over out of that, or end it.",
    ),
]
Tokens = Annotated[
    str | None,
    typer.Option(
        metavar="N",
        help="Length of a document that isn't here, instead of FILE: 4096, 128k, 1M (thousands) or 128Ki, 1Mi "
        "(powers of two).",
    ),
]
ModelConfig = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="The config.json of a model that isn't here; needs --tokens."),
]
NoCite = Annotated[bool, typer.Option("--no-cite", help="No footnotes, and no citations in JSON.")]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Print only the sentences that the documents support, once an answer is whole; ends with 6 where there "
        "are none, with 5 where the documents do not say.",
    ),
]
Markdown = Annotated[
    bool,
    typer.Option("--markdown", help="Print Markdown, with marks and footnotes, once an answer is whole."),
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Jsonl = Annotated[bool, typer.Option("--jsonl", help="Print events as they happen, one JSON object a line.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Nothing but errors on stderr.")]
NoColor = Annotated[bool, typer.Option("--no-color", help="No colours on stderr.")]


def settings_of(*, quiet: bool, no_color: bool, **given: Any) -> Settings:
    """What the options come to. One that is None, or a switch that was not given, leaves the setting to the other
    layers."""
    return resolve({**given, "quiet": quiet or None, "color": "never" if no_color else None})
