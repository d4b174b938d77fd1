"""Results on disk: written in one step, or one clear line."""

import json
from pathlib import Path

import pytest

from lcdoc.errors import LcdocError
from lcdoc.evaluate.report import write_report


def test_a_report_replaces_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_report(path, {"cells": [1]})
    write_report(path, {"cells": [1, "größer"]})
    assert json.loads(path.read_text(encoding="utf-8")) == {"cells": [1, "größer"]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_report_that_fails_half_way_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_report(path, {"cells": [1]})
    with pytest.raises(TypeError):
        write_report(path, {"cells": [1, 2], "bad": object()})
    assert json.loads(path.read_text(encoding="utf-8")) == {"cells": [1]}
    assert [entry.name for entry in tmp_path.iterdir()] == ["result.json"]


def test_a_place_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(LcdocError, match=r"none/result\.json: the result can't be written: No such file"):
        write_report(tmp_path / "none" / "result.json", {})
