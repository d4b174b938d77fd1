"""Interrupting a suite of `lcdoc eval`, and going on from what its result holds."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lcdoc.cli.display import Quiet
from lcdoc.cli.evaluate import run_suite
from lcdoc.config import ReadSettings
from lcdoc.engine.profiles import HeadProfile
from lcdoc.errors import UsageError
from lcdoc.evaluate.grid import Grid
from lcdoc.evaluate.needle import NeedleTest
from lcdoc.evaluate.perplexity import PerplexityTest, Stretches
from lcdoc.evaluate.qa import QaPlan, QaTest
from lcdoc.evaluate.report import write_report
from lcdoc.evaluate.ruler.plan import RulerPlan
from lcdoc.evaluate.ruler.suite import RulerTest
from lcdoc.evaluate.suite import Suite

Make = Callable[[str], Suite[Any]]
TIMES = ("prefill_s",)


def needle(model: str) -> Suite[Any]:
    return NeedleTest(ReadSettings(model=model), Grid((200, 300), 2, 1, ("exact", "stock")))


def shared_needle(model: str) -> Suite[Any]:
    grid = Grid((500,), 3, 1, ("exact", "question@25%"), shared_reading=True)
    return NeedleTest(ReadSettings(model=model), grid)


def perplexity(model: str) -> Suite[Any]:
    return PerplexityTest(ReadSettings(model=model), Stretches(200, 50, 2, ("exact", "int4")))


def ruler(model: str) -> Suite[Any]:
    plan = RulerPlan((500,), ("single", "multivalue"), samples=2, modes=("exact",))
    return RulerTest(ReadSettings(model=model), plan)


def qa(model: str) -> Suite[Any]:
    path = Path(model).parent / "resume.jsonl"
    row = {"context": "A mill burnt down. " * 20, "question": "What?", "answers": ["a mill"]}
    rows = [row | {"metric": metric} for metric in ("f1", "contains", "number", "f1")]
    path.write_text("".join(json.dumps(entry) + "\n" for entry in rows), encoding="utf-8")
    return QaTest(ReadSettings(model=model), path, QaPlan(modes=("exact", "stock"), shared_reading=True))


@pytest.fixture(autouse=True)
def no_commits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The checkout may be worked on while its tests run, and where git is not found reports name no commit."""
    monkeypatch.setenv("PATH", str(tmp_path))


class Said(Quiet):
    """Remembers what is said, and interrupts after some cells."""

    def __init__(self, cells: int = -1) -> None:
        self.lines: list[str] = []
        self._left = cells

    def say(self, text: str) -> None:
        self.lines.append(text)
        if " of " in text and ": " in text:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt


def comparable(path: Path) -> dict[str, Any]:
    """A report without what differs from run to run."""
    report = json.loads(path.read_text(encoding="utf-8"))
    del report["date"]
    for cell in report["cells"]:
        for name in TIMES:
            cell.pop(name, None)
    return report


@pytest.mark.parametrize(
    "make", [needle, shared_needle, perplexity, ruler, qa], ids=lambda make: make.__name__
)
def test_interrupted_and_gone_on_with_it_is_as_if_it_never_was(
    make: Make, tiny_model: Path, tmp_path: Path
) -> None:
    model = str(tiny_model)
    whole, parts = tmp_path / "whole.json", tmp_path / "parts.json"

    def run(path: Path, said: Said) -> Suite[Any] | None:
        return run_suite(lambda: make(model), model, said, path, lambda cell: "done")

    assert run(whole, Said()) is not None
    total = len(comparable(whole)["cells"])
    assert total >= 4
    first = Said(cells=2)
    assert run(parts, first) is None
    assert first.lines[-1] == f"interrupted after 2 of {total} cells; the same command goes on from there"
    # Ctrl-C came before the second cell was written.
    assert len(comparable(parts)["cells"]) == 1 and not comparable(parts)["complete"]
    then = Said()
    assert run(parts, then) is not None
    assert then.lines == [
        f"{parts}: 1 of {total} cells are there",
        *(f"{number} of {total}: done" for number in range(2, total + 1)),
    ]
    assert comparable(parts) == comparable(whole)


def test_ctrl_c_in_a_real_run(run_lcdoc, cli_env: dict[str, str], tiny_model: Path, tmp_path: Path) -> None:
    words = [
        "eval",
        "needle",
        "--model",
        str(tiny_model),
        "--lengths",
        "300",
        "--depths",
        "4",
        "--seeds",
        "4",
    ]
    words += ["--mode", "exact", "--json", "result.json"]
    process = subprocess.Popen(
        [sys.executable, "-m", "lcdoc", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env=cli_env,
        cwd=tmp_path,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("2 of 16: "):
            break
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 130 and out == ""
    assert "of 16 cells; the same command goes on from there" in err
    before = (tmp_path / "result.json").read_bytes()
    held = len(json.loads(before)["cells"])
    assert 1 <= held < 16
    result = run_lcdoc(*words)
    assert result.returncode == 0, result.stderr
    assert f"result.json: {held} of 16 cells are there\n" in result.stderr
    assert f"\n{held} of 16: " not in result.stderr and f"\n{held + 1} of 16: " in result.stderr
    finished = (tmp_path / "result.json").read_bytes()
    assert json.loads(finished)["cells"][:held] == json.loads(before)["cells"]
    again = run_lcdoc(*words)
    assert again.returncode == 0 and again.stdout == result.stdout != ""
    assert "result.json: nothing left to measure\n" in again.stderr
    assert (tmp_path / "result.json").read_bytes() == finished
    other = run_lcdoc(*words, "--depths", "3")
    assert other.returncode == 2 and other.stdout == ""
    assert "result.json was measured with settings.depths " in other.stderr
    assert (tmp_path / "result.json").read_bytes() == finished


@pytest.fixture
def held(tiny_model: Path, tmp_path: Path) -> Path:
    """The result of a needle test, with a cell."""
    suite = needle(str(tiny_model))
    next(suite.run())
    write_report(tmp_path / "held.json", suite.report())
    return tmp_path / "held.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model": {"name": "huge", "dtype": "float32"}},
            r"held\.json was measured with model\.name huge, not tiny; name another file with --json",
        ),
        ({"versions": {"lcdoc": "9"}}, "was measured with versions.lcdoc 9, not "),
        ({"suite": "qa"}, "was measured with suite qa, not needle"),
        ({"cells": [{}]}, r"held\.json is no result of this suite; name another file"),
        ({"cells": [1]}, "is no result of this suite"),
        ({"cells": None}, "is no result of this suite"),
        ({"commits": [{"commit": "abc", "cells": 2}]}, "is no result of this suite"),
        ({"commits": [{"commit": "abc"}]}, "is no result of this suite"),
    ],
    ids=["model", "versions", "suite", "cell", "number", "none", "too many", "how many"],
)
def test_a_result_of_something_else_is_refused_before_the_weights_are_loaded_and_left_alone(
    held: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    held.write_text(json.dumps(json.loads(held.read_text(encoding="utf-8")) | changes), encoding="utf-8")
    before = held.read_bytes()
    with pytest.raises(UsageError, match=message):
        run_suite(lambda: needle(str(tiny_model)), str(tiny_model), Said(), held, str)
    assert held.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"{}"])
def test_a_file_that_is_no_result_is_refused_and_left_alone(
    tiny_model: Path, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"notes\.txt is no result of this suite"):
        run_suite(lambda: needle(str(tiny_model)), str(tiny_model), Said(), path, str)
    assert path.read_bytes() == content


def test_a_profile_that_was_written_anew_is_a_difference(tiny_model: Path, tmp_path: Path) -> None:
    profile = HeadProfile("tiny", ((0.0, 1.0),) * 2, 4, 32, "made up")

    def suite() -> Suite[Any]:
        settings = ReadSettings(model=str(tiny_model), profile=str(tmp_path / "tiny.yaml"))
        return NeedleTest(settings, Grid((200,), 1, 1, ("duo",)))

    profile.save(tmp_path / "tiny.yaml")
    first = suite()
    next(first.run())
    write_report(tmp_path / "result.json", first.report())
    suite().resume(tmp_path / "result.json")
    replace(profile, gates=((1.0, 0.0),) * 2).save(tmp_path / "tiny.yaml")
    with pytest.raises(UsageError, match="was measured with settings.profile_sha256 "):
        suite().resume(tmp_path / "result.json")


def test_a_date_is_no_difference(held: Path, tiny_model: Path) -> None:
    report = json.loads(held.read_text(encoding="utf-8"))
    held.write_text(json.dumps(report | {"date": "2001-01-01"}), encoding="utf-8")
    suite = needle(str(tiny_model))
    suite.resume(held)
    assert len(suite.cells) == 1 and suite.report()["cells"] == report["cells"]


def test_a_commit_is_no_difference_and_each_part_names_its_own(
    held: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(tiny_model)

    def run(commit: str, said: Said) -> dict[str, Any]:
        monkeypatch.setattr("lcdoc.evaluate.report._commit", lambda: commit)
        run_suite(lambda: needle(model), model, said, held, lambda cell: "done")
        return json.loads(held.read_text(encoding="utf-8"))

    before = json.loads(held.read_text(encoding="utf-8"))
    assert before["commits"] == [{"commit": None, "cells": 1}]
    # As results were written that named no parts.
    del before["commits"]
    held.write_text(json.dumps(before | {"commit": "aaa"}), encoding="utf-8")
    said = Said(cells=4)
    part = run("bbb", said)
    assert said.lines[0] == f"{held}: 1 of 8 cells are there, measured at commit aaa"
    assert part["commits"] == [{"commit": "aaa", "cells": 1}, {"commit": "bbb", "cells": 2}]
    assert part["commit"] == "bbb" and part["cells"][0] == before["cells"][0]
    said = Said()
    whole = run("aaa", said)
    assert said.lines[0] == f"{held}: 3 of 8 cells are there, measured at commit bbb"
    assert [(entry["commit"], entry["cells"]) for entry in whole["commits"]] == [
        ("aaa", 1),
        ("bbb", 2),
        ("aaa", 5),
    ]
    assert whole["complete"] and whole["cells"][:3] == part["cells"]


def test_nothing_is_loaded_where_nothing_is_left(
    held: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = str(tiny_model)
    run_suite(lambda: needle(model), model, Said(), held, lambda cell: "done")
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    said = Said()
    assert run_suite(lambda: needle(model), model, said, held, str) is not None
    assert said.lines == [f"{held}: nothing left to measure"]


def test_a_result_without_a_cell_was_measured_with_nothing(held: Path, tiny_model: Path) -> None:
    """As it is left where loading the weights was interrupted."""
    other = perplexity(str(tiny_model))
    write_report(held, other.report())
    suite = needle(str(tiny_model))
    suite.resume(held)
    assert suite.cells == [] and suite.report()["suite"] == "needle"
