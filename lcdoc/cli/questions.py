"""Which of the command line's words are documents and which are questions."""

import glob
import os
import re
import sys
from pathlib import Path

from lcdoc.documents.source import STDIN, expand_sources
from lcdoc.errors import DocumentError, UsageError

LOOKS_LIKE_A_FILE = re.compile(r"\S*[^\s.]\.[A-Za-z0-9]{1,5}|\S*[/\\]\S*")


def split_words(words: list[str], questions_given: bool) -> tuple[list[str], str | None]:
    """Documents, and the question where the last word is one.

    questions_given: there are more by -q or --questions. Raises UsageError for a word that could be both,
    DocumentError for a file that is not there.
    """
    last = words[-1]
    found = documents_of(last)
    if found and last not in found and last.rstrip().endswith("?"):
        raise UsageError(f"{last!r} matches {found[0]} and could be the question; ask it with -q")
    if found or (questions_given and len(words) == 1):
        return expand_sources(words), None
    if LOOKS_LIKE_A_FILE.fullmatch(last):
        raise DocumentError(f"{last}: no such file; if it is a question, ask it with -q")
    if len(words) == 1:
        raise UsageError(f"{last!r} is no file, so it was taken as the question; name a document before it")
    return expand_sources(words[:-1]), last


def documents_of(word: str) -> list[str]:
    """The word itself where it is a file or stdin, else the files that it matches as a pattern."""
    if word == STDIN or os.path.exists(word):  # noqa: PTH110 - a question may be too long for a Path
        return [word]
    return sorted(glob.glob(word, recursive=True))  # noqa: PTH207 - patterns may be absolute


def read_questions(path: str) -> list[str]:
    """One question a line, blank lines skipped; - is stdin. Raises UsageError where there is none."""
    try:
        if path == STDIN:
            text = sys.stdin.buffer.read().decode("utf-8-sig") if sys.stdin is not None else ""
        else:
            text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--questions {path}: cannot be read: {error}") from error
    questions = [line.strip() for line in text.splitlines() if line.strip()]
    if not questions:
        raise UsageError(f"--questions {path}: holds no question; write one a line")
    return questions


def checked_questions(questions: list[str]) -> list[str]:
    """As valid text, whatever bytes the shell passed. Raises UsageError for an empty one."""
    for number, question in enumerate(questions, 1):
        if not question.strip():
            raise UsageError(f"question {number} of {len(questions)} is empty; ask something")
    return [valid_text(question) for question in questions]


def valid_text(text: str) -> str:
    """Bytes that Python could not read in this locale, read as UTF-8; what is none becomes U+FFFD."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
