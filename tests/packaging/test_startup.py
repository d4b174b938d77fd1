"""`lcdoc --help` imports nothing heavy, so that it is there at once."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = {
    "torch",
    "transformers",
    "tokenizers",
    "huggingface_hub",
    "accelerate",
    "safetensors",
    "numpy",
    "gguf",
}
READERS = {"pypdf", "pypdfium2", "mammoth", "selectolax", "charset_normalizer"}


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["ask", "--help"], ["summarize", "--help"], ["models", "--help"]]
)
def test_help_imports_nothing_heavy(arguments: list[str], tmp_path: Path, cli_env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lcdoc", *arguments],
        cwd=tmp_path,
        env=cli_env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    imported = {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line
    }
    assert done.returncode == 0, done.stderr[-2000:]
    assert "lcdoc.cli" in imported
    assert imported & (HEAVY | READERS) == set()
