"""Parts: runs of spans that are read together, whole pages where they have room."""

from collections.abc import Sequence
from itertools import groupby

from lcdoc.fusion.spans import Span


def cut_parts(spans: Sequence[Span], max_tokens: int) -> list[list[Span]]:
    """Every span is in one part of at most max_tokens, in order. A page is begun in a part of its own rather than
    divided, and divided only where it is longer than a part. No span may be longer."""
    parts: list[list[Span]] = []
    room = 0
    for _, group in groupby(spans, key=lambda span: span.page.start):
        page = list(group)
        if sum(span.num_tokens for span in page) > room:
            parts.append([])
            room = max_tokens
        for span in page:
            if span.num_tokens > room:
                parts.append([])
                room = max_tokens
            parts[-1].append(span)
            room -= span.num_tokens
    return parts
