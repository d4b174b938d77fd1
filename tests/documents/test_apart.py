"""Parsers in a process of their own: what breaks there is one line here."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lcdoc.documents import apart, load_document
from lcdoc.documents.document import Document, Page
from lcdoc.documents.limits import LIMITS, MEBIBYTE, Limits
from lcdoc.errors import DocumentError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="parsers are forked on Linux alone")


@pytest.fixture(autouse=True)
def forking(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that other tests have left are no matter here."""
    monkeypatch.setattr(apart, "_may_fork", lambda: True)


def refusal(work: Callable[[], object], limits: Limits = LIMITS) -> str:
    def parse(data: bytes, source: str, password: str | None, limits: Limits) -> Document:
        work()
        return Document(source, "text", "lines", (Page(1, "1", "read"),), 1)

    with pytest.raises(DocumentError) as caught:
        apart.parse_apart(parse, b"data", "a.pdf", None, limits)
    message = str(caught.value)
    assert "\n" not in message and message.startswith("a.pdf: ")
    return message.removeprefix("a.pdf: ")


def spin() -> None:
    while True:
        pass


def complain() -> None:
    os.write(2, b"a parser's remark")
    raise ValueError("line one\nline two")


@pytest.mark.parametrize(
    ("work", "limits", "said"),
    [
        (complain, LIMITS, "its parser broke on it (ValueError: line one line two); save or export it anew"),
        (
            lambda: bytearray(400 * MEBIBYTE),
            replace(LIMITS, parser_bytes=200 * MEBIBYTE),
            "its parser needs more than the limit of 200 MiB; split the file",
        ),
        (spin, replace(LIMITS, parser_s=1), "its parser took more than the limit of 1 s; split the file"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), LIMITS, "its parser was killed, most likely for want"),
        (lambda: os.kill(os.getpid(), signal.SIGSEGV), LIMITS, "its parser broke down; the file is damaged"),
        (lambda: os._exit(0), LIMITS, "its parser broke down; the file is damaged"),
    ],
    ids=["raises", "memory", "time", "killed", "crashes", "leaves"],
)
def test_a_parser_that_breaks_is_one_line(
    work: Callable[[], object], limits: Limits, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert refusal(work, limits).startswith(said)
    assert capfd.readouterr() == ("", "")


def test_a_parser_writes_no_file(tmp_path: Path) -> None:
    target = tmp_path / "written"
    assert "its parser" in refusal(lambda: target.write_bytes(b"x"))
    assert target.read_bytes() == b""


def test_a_new_python_gives_the_same_document(awkward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(awkward / "multicolumn.pdf")
    forked = load_document(path)
    monkeypatch.setattr(apart, "_may_fork", lambda: False)
    assert load_document(path) == forked
    with pytest.raises(DocumentError, match="locked with a password"):
        load_document(str(awkward / "encrypted-openpassword.pdf"))
