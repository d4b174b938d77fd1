"""Settings from flags, variables and files: who wins, and what is refused."""

import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from lcdoc.config import GROUPS, ReadSettings, Sampling
from lcdoc.errors import UsageError

Run = Callable[..., subprocess.CompletedProcess[str]]


def origins(text: str) -> dict[str, tuple[str, str]]:
    """Setting -> (value, origin) of `lcdoc config show --origin`."""
    rows = [line.split(maxsplit=2) for line in text.replace("(not set)", "none").splitlines()]
    return {name: (value, origin) for name, value, origin in rows}


def test_each_layer_beats_the_one_below(lcdoc: Run, work: Path) -> None:
    user = work / "user.yaml"
    user.write_text("seed: 1\ntop_p: 0.5\nmode: stream\n", encoding="utf-8")
    (work / "lcdoc.yaml").write_text("seed: 2\ntop_p: 0.6\n", encoding="utf-8")
    done = lcdoc("config", "show", "--origin", LCDOC_CONFIG=str(user), LCDOC_SEED="3")
    assert done.returncode == 0
    shown = origins(done.stdout)
    assert shown["seed"] == ("3", "LCDOC_SEED")
    assert shown["top_p"] == ("0.6", str(work / "lcdoc.yaml"))
    assert shown["mode"] == ("stream", str(user))
    assert shown["device"] == ("auto", "default")
    assert shown.keys() == {field.name for group in GROUPS for field in fields(group)}


def test_flag_beats_a_variable(lcdoc: Run, work: Path, parrot: str) -> None:
    (work / "a.txt").write_text("Some words.\n", encoding="utf-8")
    done = lcdoc("ask", "a.txt", "What?", "--model", parrot, LCDOC_MODEL="nonesuch", LCDOC_QUIET="yes")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Yes.\n", "")


BAD_FILES = {
    "unknown key": ("colour: never\n", ["colour", "color"]),
    "wrong choice": ("mode: fast\n", ["mode", "'fast'", "auto, exact, stream, duo"]),
    "text for a number": ('seed: "7"\n', ["seed", "'7'", "whole number"]),
    "yes for a number": ("seed: yes\n", ["seed", "True", "whole number"]),
    "too low": ("recent_size: 0\n", ["recent_size", "1 or more", "0"]),
    "no such text": ("color: no\n", ["color", "False"]),
    "not YAML": ("mode: [\n", ["YAML"]),
    "a list": ("- mode\n", ["list"]),
    "password": ("password: secret\n", ["password"]),
}


@pytest.mark.parametrize(("content", "named"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_file_is_refused(lcdoc: Run, work: Path, content: str, named: list[str]) -> None:
    (work / "lcdoc.yaml").write_text(content, encoding="utf-8")
    done = lcdoc("config", "show")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    for word in (str(work / "lcdoc.yaml"), *named):
        assert word in line


@pytest.mark.parametrize(
    ("variable", "value"), [("LCDOC_SEED", "x"), ("LCDOC_QUIET", "maybe"), ("LCDOC_DEVICE", "tpu")]
)
def test_bad_variable_is_refused(lcdoc: Run, variable: str, value: str) -> None:
    done = lcdoc("config", "show", **{variable: value})
    assert done.returncode == 2
    assert variable in done.stderr and value in done.stderr


def test_named_config_file_must_exist(lcdoc: Run, work: Path) -> None:
    done = lcdoc("config", "show", LCDOC_CONFIG=str(work / "gone.yaml"))
    assert done.returncode == 2
    assert "gone.yaml" in done.stderr


def test_config_path(lcdoc: Run, work: Path) -> None:
    (work / "lcdoc.yaml").write_text("seed: 2\n", encoding="utf-8")
    project, user = lcdoc("config", "path").stdout.splitlines()
    assert project == f"{work / 'lcdoc.yaml'} (in use)"
    assert user.endswith("config.yaml (not there)")


@pytest.mark.parametrize(
    "make",
    [
        lambda: ReadSettings(device="cuda:x"),
        lambda: ReadSettings(dtype="int8"),
        lambda: ReadSettings(model=" "),
        lambda: ReadSettings(sink_size=-1),
        lambda: ReadSettings(chunk_tokens=0),
        lambda: ReadSettings(recent_size=True),
        lambda: Sampling(max_new_tokens=0),
        lambda: Sampling(temperature=float("nan")),
        lambda: Sampling(top_p=0.0),
        lambda: Sampling(seed=-1),
    ],
)
def test_settings_made_in_python_are_checked(make: Callable[[], object]) -> None:
    with pytest.raises(UsageError):
        make()


def test_a_whole_number_is_a_temperature() -> None:
    assert Sampling(temperature=1).temperature == 1
