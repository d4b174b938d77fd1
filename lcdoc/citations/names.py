"""Names in a sentence: words with a capital that do not owe it to where they stand."""

import re
from calendar import day_name, month_name

NAME = re.compile(r"(?<![\w'\u2019])[A-Z][\w\u00c0-\u024f]+")
OPENS = re.compile(r"(?:^|[.!?:;]|[\"'\u2018\u2019\u201c\u201d(\[\n])[\s*_#>\-]*\Z")
# Words that English gives a capital anywhere.
NOT_NAMES = frozenset(name.lower() for name in (*month_name, *day_name)) | {
    "chapter",
    "section",
    "letter",
    "part",
    "book",
    "page",
    "table",
    "figure",
}


def names(text: str) -> list[str]:
    """In order, each once; none of less than three letters."""
    found = []
    for match in NAME.finditer(text):
        name = match[0]
        opens = OPENS.search(text[max(match.start() - 8, 0) : match.start()])
        if len(name) >= 3 and not opens and name.lower() not in NOT_NAMES and name not in found:
            found.append(name)
    return found
