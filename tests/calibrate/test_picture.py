"""The picture of a profile's gates."""

import subprocess
import sys
from pathlib import Path

import pytest

from lcdoc.calibrate.picture import save_gates_png
from lcdoc.engine.profiles import load_profile
from lcdoc.errors import LcdocError, UsageError

PROFILE = "mistral-7b-instruct-v0.2"


def test_a_picture_of_every_gate(tmp_path: Path) -> None:
    image = pytest.importorskip("matplotlib.image")
    save_gates_png(load_profile(PROFILE), tmp_path / "gates.png")
    assert (tmp_path / "gates.png").read_bytes().startswith(b"\x89PNG")
    colors = {tuple(color) for row in image.imread(tmp_path / "gates.png") for color in row}
    assert len(colors) > 50, "gates of every size"
    assert "matplotlib.pyplot" not in sys.modules, "it would look for a display"


def test_a_picture_that_cannot_be_written(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(LcdocError, match="none/x.png: the picture can't be written: No such file"):
        save_gates_png(load_profile(PROFILE), tmp_path / "none" / "x.png")


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    with pytest.raises(UsageError, match=r"pip install 'lcdoc\[plot\]'$"):
        save_gates_png(load_profile(PROFILE), tmp_path / "x.png")
    assert not list(tmp_path.iterdir())


def test_nothing_of_matplotlib_is_needed_to_import_it() -> None:
    code = "import sys, lcdoc.calibrate.picture; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
