"""Makes extracted text plain: NFC, no ligatures, "\\n" line ends, no control characters."""

import re
import unicodedata

_LINE_ENDS = re.compile(r"\r\n|\r|\x85|\u2028|\u2029")
# Every C0 and C1 control but tab and line feed, and the marks that are not text: BOM and soft hyphen.
_NOT_TEXT = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\ufeff\ufffe\uffff]")
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "ft", "ﬆ": "st"},
)
_SPACES_BEFORE_LINE_END = re.compile(r"[ \t\u00a0]+(?=\n)")


def clean_text(text: str) -> str:
    """The same text, plain; form feeds go with the other controls, so split at them before."""
    text = _LINE_ENDS.sub("\n", text)
    text = _NOT_TEXT.sub("", text).translate(_LIGATURES)
    return _SPACES_BEFORE_LINE_END.sub("", unicodedata.normalize("NFC", text))


def squeeze(text: str) -> str:
    """One line: every run of white space becomes a single space."""
    return " ".join(text.split())
