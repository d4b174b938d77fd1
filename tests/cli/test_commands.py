"""The small commands, and what holds for all of them."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lcdoc.cli.reading import DOCUMENT_READING

Run = Callable[..., subprocess.CompletedProcess[str]]
Schema = Callable[[str], Any]
HEAVY = {"torch", "transformers", "huggingface_hub", "pypdf", "yaml", "rich", "tokenizers", "platformdirs"}


def test_help_imports_nothing_heavy(cli_env: dict[str, str], work: Path) -> None:
    report = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=sys.stderr))"
    code = f"{report}; from lcdoc.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "--help"],
        capture_output=True,
        text=True,
        env=cli_env,
        cwd=work,
        check=True,
    )
    assert "Commands:" in done.stdout
    loaded = {name.partition(".")[0] for name in done.stderr.split()}
    assert "lcdoc" in loaded
    assert loaded & HEAVY == set()


@pytest.mark.parametrize(
    "command",
    [
        [],
        ["ask"],
        ["inspect"],
        ["doctor"],
        ["models"],
        ["models", "pull"],
        ["profiles", "show"],
        ["config", "show"],
    ],
    ids=" ".join,
)
def test_every_command_has_help(lcdoc: Run, command: list[str]) -> None:
    done = lcdoc(*command, "--help")
    assert done.returncode == 0
    assert done.stdout.startswith(f"Usage: {' '.join(['lcdoc', *command])} ")
    assert done.stderr == ""


@pytest.mark.parametrize("command", ["ask", "plan", "selftest"])
def test_documents_are_read_with_the_same_options_in_the_same_order(lcdoc: Run, command: str) -> None:
    listed = re.findall(r"^  (--[a-z-]+)", lcdoc(command, "--help").stdout, re.MULTILINE)
    reading = [f"--{parameter.name.replace('_', '-')}" for parameter in DOCUMENT_READING]
    start = listed.index(reading[0])
    assert listed[start : start + len(reading)] == reading
    assert listed[0] == "--model" and listed[-2:] == ["--quiet", "--no-color"]


def test_version(lcdoc: Run) -> None:
    done = lcdoc("--version")
    assert (done.returncode, done.stdout) == (0, "lcdoc 0.1.0\n")


@pytest.mark.parametrize("words", [[], ["bogus"], ["models"], ["ask"], ["inspect"]], ids=" ".join)
def test_incomplete_call(lcdoc: Run, words: list[str]) -> None:
    done = lcdoc(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("lcdoc: ") and "--help" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_completion_script(lcdoc: Run) -> None:
    done = lcdoc("--show-completion", "bash")
    assert done.returncode == 0
    assert "_LCDOC_COMPLETE" in done.stdout


def test_inspect_names_scans_and_the_fit(lcdoc: Run, work: Path, parrot: str) -> None:
    (work / "lines.txt").write_text("Some words.\n" * 500, encoding="utf-8")
    done = lcdoc("inspect", "lines.txt", "--model", parrot)
    assert done.returncode == 0
    assert done.stdout.startswith("lines.txt\n  format   text\n")
    assert "fits its window of 300,000 tokens" in done.stdout


def test_inspect_json(lcdoc: Run, work: Path, parrot: str, json_schema: Schema) -> None:
    (work / "lines.txt").write_text("Some words.\n" * 500, encoding="utf-8")
    done = lcdoc("inspect", "lines.txt", "--json", "--model", parrot, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    json_schema("inspect").validate(report)
    [document] = report["documents"]
    assert sum(page["num_tokens"] for page in document["pages"]) == report["fit"]["tokens"] > 0
    assert sum(page["num_chars"] for page in document["pages"]) == document["num_chars"]
    assert report["fit"]["fits"] is True


def test_inspect_without_a_model_counts_no_tokens(lcdoc: Run, work: Path, json_schema: Schema) -> None:
    (work / "a.txt").write_text("Some words.\n", encoding="utf-8")
    done = lcdoc("inspect", "a.txt", "--json")
    assert done.returncode == 0
    report = json.loads(done.stdout)
    json_schema("inspect").validate(report)
    assert report["fit"] is None
    assert "lcdoc models pull" in report["tokens_unknown"]
    assert "tokens not counted" in lcdoc("inspect", "a.txt").stdout


def test_inspect_of_what_does_not_fit(lcdoc: Run, work: Path, parrot: str) -> None:
    (work / "long.txt").write_text("word " * 70_000, encoding="utf-8")
    done = lcdoc("inspect", "long.txt", "--model", parrot)
    assert done.returncode == 0
    assert "350,350 tokens for parrot: does not fit its window of 300,000 tokens" in done.stdout


def test_inspect_of_a_missing_file(lcdoc: Run) -> None:
    done = lcdoc("inspect", "gone.pdf")
    assert (done.returncode, done.stdout) == (3, "")
    assert "gone.pdf" in done.stderr


def test_doctor_fails_without_a_model_and_passes_with_one(lcdoc: Run, parrot: str) -> None:
    without = lcdoc("doctor", "--json")
    report = json.loads(without.stdout)
    assert (without.returncode, report["healthy"]) == (1, False)
    assert [check["name"] for check in report["checks"] if check["status"] == "fail"] == ["model"]
    done = lcdoc("doctor", LCDOC_MODEL=parrot)
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} <= {"ok", "warn"}
    assert "model: parrot at" in done.stdout


def test_doctor_sees_a_folder_it_cannot_write(lcdoc: Run, work: Path, parrot: str) -> None:
    (work / "file").write_text("", encoding="utf-8")
    done = lcdoc("doctor", LCDOC_MODEL=parrot, LCDOC_HOME=str(work / "file" / "inside"))
    assert done.returncode == 1
    assert "fail  data folder" in done.stdout


def test_models_list_and_show(lcdoc: Run) -> None:
    done = lcdoc("models", "list")
    assert done.returncode == 0
    assert done.stdout.startswith("smollm2-135m-instruct  not here")
    shown = lcdoc("models", "show", "smollm2-135m-instruct")
    assert "license      Apache-2.0\n" in shown.stdout


@pytest.mark.parametrize("command", ["show", "remove"])
def test_models_unknown(lcdoc: Run, command: str) -> None:
    done = lcdoc("models", command, "nonesuch")
    assert (done.returncode, done.stdout) == (1, "")
    assert "nonesuch" in done.stderr


def test_inspect_shows_the_rest_when_one_file_is_refused(lcdoc: Run, work: Path, json_schema: Schema) -> None:
    (work / "good.txt").write_text("Text.\n", encoding="utf-8")
    (work / "empty.txt").write_text("", encoding="utf-8")
    done = lcdoc("inspect", "empty.txt", "good.txt", "--json")
    assert done.returncode == 3
    report = json.loads(done.stdout)
    json_schema("inspect").validate(report)
    assert [document["source"] for document in report["documents"]] == ["good.txt"]
    assert len(report["refused"]) == 1 and "empty.txt" in report["refused"][0]
    assert done.stderr.count("empty.txt") == 1
