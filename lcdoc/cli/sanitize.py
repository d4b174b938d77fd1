"""Makes text from documents and models safe to show: nothing in it can move, colour or reorder a terminal.

Removed: C0 and C1 controls except newline and tab, escape sequences (CSI, OSC, DCS and the rest) even if cut
anywhere between two chunks, overrides of text direction, zero-width spaces and tags. All other text stays.
"""

import re

UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u202a-\u202e\u2060-\u2069\ufeff\U000e0000-\U000e007f]"
)
INTRODUCER = re.compile("[\x1b\x90\x98\x9b\x9d-\x9f]")
INTERMEDIATE = r"[\x20-\x2f]"
# Control strings (OSC, DCS, SOS, PM, APC) end with BEL or ST. One that no end closes on its own line is no
# sequence: then only its introducer goes, so that a stray byte cannot make the rest of an answer disappear.
STRING_START = r"(?:\x1b[\]PX^_]|[\x90\x98\x9d-\x9f])"
STRING_BODY = r"[^\n\x07\x1b\x9c]{0,4096}"
SEQUENCE = re.compile(
    rf"{STRING_START}{STRING_BODY}(?:\x07|\x1b\\|\x9c)"
    rf"|(?:\x1b\[|\x9b)[\x30-\x3f]{{0,64}}{INTERMEDIATE}{{0,8}}[\x40-\x7e]"
    rf"|\x1b{INTERMEDIATE}{{1,8}}[\x30-\x7e]"
    rf"|\x1b[\x30-\x4f\x51-\x57\x59\x5a\x5c\x60-\x7e]"
)
UNFINISHED = re.compile(
    rf"(?:{STRING_START}{STRING_BODY}\x1b?"
    rf"|(?:\x1b\[|\x9b)[\x30-\x3f]{{0,64}}{INTERMEDIATE}{{0,8}}"
    rf"|\x1b{INTERMEDIATE}{{0,8}})\Z"
)
BROKEN = re.compile(rf"{STRING_START}|\x1b\[[\x30-\x3f]{{0,64}}{INTERMEDIATE}{{0,8}}|\x1b")


class Sanitizer:
    """Cleans a stream chunk by chunk; only the start of an unfinished sequence waits for the next chunk."""

    def __init__(self) -> None:
        self._pending = ""

    def feed(self, text: str) -> str:
        return self._clean(text, final=False)

    def flush(self) -> str:
        """What still waited when the stream ended."""
        return self._clean("", final=True)

    def _clean(self, text: str, final: bool) -> str:
        text, self._pending = self._pending + text, ""
        kept, start = [], 0
        while introducer := INTRODUCER.search(text, start):
            kept.append(text[start : introducer.start()])
            start = introducer.start()
            if sequence := SEQUENCE.match(text, start):
                start = sequence.end()
            elif not final and UNFINISHED.match(text, start):
                self._pending = text[start:]
                break
            elif broken := BROKEN.match(text, start):
                start = broken.end()
            else:
                start += 1
        else:
            kept.append(text[start:])
        return UNSAFE.sub("", "".join(kept))


def clean(text: str) -> str:
    """Whole text, safe to print."""
    sanitizer = Sanitizer()
    return sanitizer.feed(text) + sanitizer.flush()


def clean_line(text: str) -> str:
    """One line of it: for labels, titles, file names and errors."""
    return " ".join(clean(text).split())
