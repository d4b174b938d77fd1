"""What a plan says in words: the change that would make a reading exact, sizes and times."""

import math

from lcdoc.cli.measures import bytes_text, clock, count, ranges
from lcdoc.engine.extension import Extension
from lcdoc.engine.seconds import Seconds
from lcdoc.tasks.forecast import Forecast
from lcdoc.tasks.parts_plan import PartsPlan

GB, MB = 1000**3, 1000**2


def exact_line(forecast: Forecast) -> str:
    """One line: what to change so that the document is read exactly."""
    change = forecast.exact
    if change is None:
        return "this reads it exactly: nothing is given up"
    budget_bytes, size = forecast.place.budget_bytes, budget_text(change.budget_bytes)
    options = "".join(f"{option} " for option in change.settings)
    within = change.budget_bytes <= budget_bytes
    if change.window_tokens is not None:
        wider = f"a model with a window of {change.window_tokens:,} tokens or more (--model)"
        parts = [wider if within else f"{wider} and about --budget {size}"]
    elif within:
        parts = [f"{options}within this budget"]
    elif change.possible:
        parts = [f"{options}--budget {size}"]
    else:
        total = bytes_text(forecast.place.total_bytes or 0)
        parts = [f"it takes about {size}, more than this device's {total}"]
    if change.tokens and change.tokens < forecast.need.document_tokens:
        if change.pages:
            fewer = f"--pages {ranges(change.pages).replace(' ', '')}"
        else:
            fewer = f"no more than {count(change.tokens, 'token')}"
        parts.append(f"{options}{fewer}, within {bytes_text(budget_bytes)}")
    elif not change.tokens:
        parts.append("a smaller --model: this one leaves no room for a document within the budget")
    return "to read it exactly: " + "; or ".join(parts)


def extension_line(extension: Extension) -> str:
    """ "the document takes 2.1 of the model's windows of 8,192 tokens: --extend self-extend, groups of 5 tokens"."""
    applied = {
        "pi": f", positions divided by {extension.factor:.2f}",
        "ntk": f", alpha {extension.factor:.2f}",
        "self-extend": f", groups of {extension.factor:.0f} tokens",
        "lm-infinite": "",
    }.get(extension.method, f", factor {extension.factor:.2f}")
    return (
        f"the document takes {extension.times:.1f} of the model's windows of {extension.window_tokens:,} tokens: "
        f"--extend {extension.method}{applied}"
    )


def parts_line(parts: PartsPlan, document_tokens: int, window: int) -> str:
    """ "the document takes 14.2 of the model's windows of 8,192 tokens: read in 30 parts of up to 4,000 tokens"."""
    most = f"up to {parts.excerpt_tokens:,} of them"
    then = (
        f"of which each answer sees {most}" if parts.kept_tokens else f"then {most} again for each question"
    )
    return (
        f"the document takes {document_tokens / window:.1f} of the model's windows of {window:,} tokens: read in "
        f"{count(parts.num_parts, 'part')} of up to {parts.tokens:,} tokens, {then}; the sizes are those of one part, "
        f"the times those of all"
    )


def budget_text(size_bytes: int) -> str:
    """A size as --budget takes it, never below the one given: 5_123_000_000 -> "5.2GB"."""
    if size_bytes < GB:
        return f"{math.ceil(size_bytes / MB)}MB"
    return f"{math.ceil(size_bytes / GB * 10) / 10:.1f}GB"


def seconds_text(seconds: Seconds | None) -> str:
    """ "0:12 + 0:03", for the reading and the answer."""
    if seconds is None:
        return "-"
    return f"{clock(seconds.prefill_s)} + {clock(seconds.answer_s)}"
