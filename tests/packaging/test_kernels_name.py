"""The folder `kernels` is only ever lcdoc.kernels: transformers looks for a package of that name."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

LOAD = """
import sys
from lcdoc.models import load_config, load_model, load_tokenizer, resolve
files = resolve()
load_tokenizer(files), load_config(files)
model = load_model(files, device="cpu", attn_implementation="sdpa")
from transformers.utils import is_kernels_available
print("on path:", "" in sys.path, "kernels:", "kernels" in sys.modules, is_kernels_available())
"""


@pytest.fixture(params=["checkout", "elsewhere"])
def cwd(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return CHECKOUT if request.param == "checkout" else tmp_path


@pytest.mark.model
def test_loading_never_imports_it(cwd: Path, cli_env: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD], cwd=cwd, env=cli_env, capture_output=True, encoding="utf-8", check=False
    )
    assert done.stdout == "on path: True kernels: False False\n", done.stderr


@pytest.mark.model
def test_asking_never_imports_it(cwd: Path, tmp_path: Path, cli_env: dict[str, str]) -> None:
    document = tmp_path / "note.txt"
    document.write_text("The harvest festival of Alden is held on the ninth of October.", encoding="utf-8")
    command = ["-X", "importtime", "-m", "lcdoc", "ask", str(document), "When is the festival?"]
    done = subprocess.run(
        [sys.executable, *command, "--max-new-tokens", "4"],
        cwd=cwd,
        env=cli_env,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    imported = {
        line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "import time:" in line
    }
    assert done.returncode == 0, done.stderr[-2000:]
    assert "lcdoc.kernels" in imported
    assert "kernels" not in imported
