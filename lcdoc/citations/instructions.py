"""Text in a document that speaks to the model instead of its reader."""

import re
from collections.abc import Iterator

# What injected text has in common: it cancels instructions, gives a role, forbids to tell, or spells a chat template.
_ORDERS = (
    r"(?:ignore|disregard|forget|override)\s+(?:all\s+|any\s+|everything\s+|the\s+|your\s+|my\s+|of\s+|these\s+|those\s+)*"
    r"(?:previous|prior|above|preceding|earlier|existing|other|system)?\s*"
    r"(?:instructions?|prompts?|directions|guidelines|rules|context|question)\b",
    r"(?:new|updated|additional|hidden|system)\s+(?:instructions?|prompt)\s*:",
    r"\byou\s+are\s+(?:now|no\s+longer)\s+(?:an?\s|the\s|in\s)",
    r"\b(?:act|behave|respond|answer)\s+as\s+(?:if\s+you\s+(?:were|are)|an?\s+(?:ai|assistant|language\s+model))\b",
    r"\b(?:do\s+not|don't|never)\s+(?:tell|inform|mention|reveal|show|warn)\b[^.\n]{0,40}\b(?:the\s+)?(?:user|human|reader)\b",
    r"\b(?:always\s+|only\s+|instead\s*,?\s+)(?:answer|respond|reply|say|output)\s+(?:with|that|only)?\s*[\"'\u201c]",
    r"\b(?:as|being)\s+an?\s+(?:ai|large)\s+(?:language\s+)?(?:model|assistant)\b",
    r"\b(?:reveal|print|repeat|output)\s+(?:your|the)\s+(?:system\s+)?prompt\b",
    r"<\|?/?(?:im_start|im_end|system|user|assistant|endoftext|eot_id|begin_of_text|start_header_id|end_header_id)\|?>",
    r"\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>|^\s*#{2,}\s*(?:system|instruction)s?\s*:",
)
_ORDER = re.compile("|".join(f"(?:{order})" for order in _ORDERS), re.IGNORECASE | re.MULTILINE)


def orders(text: str) -> Iterator[tuple[int, int]]:
    """Where words stand that read like an instruction to a model: [start, end) of each."""
    for match in _ORDER.finditer(text):
        yield match.span()
