"""Variants of real files end as a document or as one line, and so does everything that ever broke a reader."""

import subprocess
import sys
from pathlib import Path

import pytest

from lcdoc.documents import load_document
from lcdoc.errors import DocumentError

CHECKOUT = Path(__file__).parents[2]
FINDINGS = sorted((Path(__file__).parent / "findings").glob("*.*"))


@pytest.mark.skipif(sys.platform == "win32", reason="variants are read in forks")
def test_variants_of_every_format_are_read_or_refused(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "tests.fuzz", "--executions", "180", "--findings", str(tmp_path))
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "180 executions, 0 broken" in done.stdout


@pytest.mark.parametrize("path", FINDINGS, ids=lambda path: path.name)
def test_what_once_broke_a_reader_is_read_or_refused_in_one_line(path: Path) -> None:
    try:
        assert load_document(str(path)).num_pages > 0
    except DocumentError as refusal:
        message = str(refusal)
        assert "\n" not in message and " its parser " not in message
