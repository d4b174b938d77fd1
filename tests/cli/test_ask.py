"""`lcdoc ask` through pipes: what stdout holds, what stderr says, how it exits."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
Schema = Callable[[str], Any]


@pytest.fixture
def note(work: Path) -> str:
    (work / "note.txt").write_text("The safe opens with 7731.\n", encoding="utf-8")
    return "note.txt"


def test_stdout_is_the_answer_alone_without_controls(lcdoc: Run, note: str, parrot: str) -> None:
    done = lcdoc("ask", note, "Does it open?", "--model", parrot)
    assert (done.returncode, done.stdout) == (0, "Yes.\n")
    assert "reading 27 tokens" in done.stderr
    last = done.stderr.splitlines()[-1]
    assert "read 27 of 27 tokens, 1 of 1 page; exact; KV" in last
    assert "\x1b" not in done.stderr


def test_quiet_leaves_stderr_empty(lcdoc: Run, note: str, parrot: str) -> None:
    done = lcdoc("ask", note, "Does it open?", "--model", parrot, "--quiet")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Yes.\n", "")


def test_several_questions_are_answered_in_order(lcdoc: Run, note: str, parrot: str, work: Path) -> None:
    (work / "more.txt").write_text("Third?\n\n  Fourth?\n", encoding="utf-8")
    done = lcdoc("ask", note, "First?", "-q", "Second?", "--questions", "more.txt", "--model", parrot)
    assert (done.returncode, done.stdout) == (0, "Yes.\n\nYes.\n\nYes.\n\nYes.\n")
    asked = [line for line in done.stderr.splitlines() if line.startswith("question: ")]
    assert asked == ["question: First?", "question: Second?", "question: Third?", "question: Fourth?"]


def test_document_from_stdin(lcdoc: Run, parrot: str) -> None:
    done = lcdoc("ask", "-", "Does it open?", "--model", parrot, stdin="Some text.\n")
    assert (done.returncode, done.stdout) == (0, "Yes.\n")


def test_json_keeps_the_models_own_characters_escaped(
    lcdoc: Run, note: str, parrot: str, json_schema: Schema
) -> None:
    done = lcdoc("ask", note, "Wirklich, é?", "--model", parrot, "--json")
    assert done.returncode == 0
    answer = json.loads(done.stdout)
    json_schema("answer").validate(answer)
    assert answer["answer"] == "\x1b[1mYes\u202e."
    assert "\\u001b[1mYes\\u202e." in done.stdout
    assert "Wirklich, é?" in done.stdout
    assert (answer["complete"], answer["finish_reason"]) == (True, "stop")
    assert answer["receipt"]["exact"] is True


def test_json_of_several_questions(lcdoc: Run, note: str, parrot: str, json_schema: Schema) -> None:
    done = lcdoc(
        "ask", note, "-q", "First?", "-q", "Second?", "--model", parrot, "--json", "--mode", "stream"
    )
    several = json.loads(done.stdout)
    json_schema("answer").validate(several)
    assert [answer["question"] for answer in several["answers"]] == ["First?", "Second?"]


def test_jsonl_events_in_order(lcdoc: Run, note: str, parrot: str, json_schema: Schema) -> None:
    done = lcdoc("ask", note, "-q", "First?", "-q", "Second?", "--model", parrot, "--jsonl")
    assert done.returncode == 0
    events = [json.loads(line) for line in done.stdout.splitlines()]
    validator = json_schema("events")
    for event in events:
        validator.validate(event)
    kinds = [event["event"] for event in events]
    assert kinds[:2] == ["plan", "prefill"]
    assert kinds[-1] == "done"
    for index, question in enumerate(["First?", "Second?"]):
        own = [event for event in events if event.get("question") == index]
        text = "".join(event["text"] for event in own if event["event"] == "token")
        assert text == own[-1]["answer"]["answer"] == "\x1b[1mYes\u202e."
        assert own[-1]["answer"]["question"] == question


def test_schemas_refuse_what_is_not_an_answer(json_schema: Schema) -> None:
    assert not json_schema("answer").is_valid({"schema_version": 1, "answer": "Yes."})
    assert not json_schema("events").is_valid({"event": "token", "text": "Yes."})


def test_answer_cut_at_its_limit_is_said(lcdoc: Run, note: str, babbler: str) -> None:
    done = lcdoc("ask", note, "Say?", "--model", babbler, "--max-new-tokens", "9")
    assert (done.returncode, done.stdout) == (0, "bla bla b\n")
    assert "--max-new-tokens" in done.stderr


def test_an_answer_that_goes_in_a_circle_is_stopped(lcdoc: Run, note: str, giggler: str) -> None:
    done = lcdoc("ask", note, "Say?", "--model", giggler, "--max-new-tokens", "500", "--json")
    assert done.returncode == 0 and "went in a circle and was stopped" in done.stderr
    answer = json.loads(done.stdout)
    assert (answer["finish_reason"], answer["complete"]) == ("repetition", False)
    assert answer["answer"] == ("ha " * 22)[:64]


def test_an_answer_that_repeats_a_phrase_is_led_out_of_it(lcdoc: Run, note: str, babbler: str) -> None:
    ask = "ask", note, "Say?", "--model", babbler, "--max-new-tokens", "24"
    done = lcdoc(*ask, "--json")
    answer = json.loads(done.stdout)
    assert answer["circles_broken"] >= 1 and answer["answer"].startswith("bla bla bla")
    assert answer["answer"] != ("bla " * 6).strip()
    assert "said a phrase over and over" in done.stderr
    assert lcdoc(*ask, "--break-circles", "off").stdout == "bla " * 5 + "bla\n"


def test_unread_pages_are_named(lcdoc: Run, parrot: str, work: Path) -> None:
    lines = "".join(f"Line number {number} of this text.\n" for number in range(1, 301))
    (work / "lines.txt").write_text(lines, encoding="utf-8")
    done = lcdoc("ask", "lines.txt", "What?", "--model", parrot, "--pages", "2-3", "--json")
    receipt = json.loads(done.stdout)["receipt"]
    assert [page["page"] for page in receipt["pages_unread"]] == [1, 4, 5]
    assert "unread: lines.txt page 1, 4-5 (left out by --pages)" in done.stderr


def test_streaming_mode_is_not_called_exact(lcdoc: Run, parrot: str, work: Path) -> None:
    (work / "long.txt").write_text("word " * 400, encoding="utf-8")
    sizes = ("--mode", "stream", "--sink-size", "4", "--recent-size", "64", "--chunk-tokens", "64")
    done = lcdoc("ask", "long.txt", "What?", "--model", parrot, *sizes)
    assert done.returncode == 0
    last = done.stderr.splitlines()[-1]
    assert "not exact" in last and "stream mode dropped parts of" in last


def test_document_too_long_for_the_window(lcdoc: Run, parrot: str, work: Path) -> None:
    (work / "long.txt").write_text("word " * 70_000, encoding="utf-8")
    done = lcdoc("ask", "long.txt", "What?", "--model", parrot, "--extend", "none", "--fusion", "off")
    assert (done.returncode, done.stdout) == (4, "")
    assert "350,350 tokens" in done.stderr and "300,000 tokens" in done.stderr


def test_footnotes_under_the_answer(
    lcdoc: Run, work: Path, speaker: Callable[[str], str], json_schema: Schema
) -> None:
    (work / "fox.txt").write_text(
        "At noon Zephyr walks. Then night comes. *Zephyr walks!*\n", encoding="utf-8"
    )
    ask = ("ask", "fox.txt", "Who?", "--model", speaker("Zephyr walks!"), "--quiet")
    assert lcdoc(*ask).stdout == 'Zephyr walks!\n\n[1] fox.txt line 1: "Zephyr walks!"\n'
    assert lcdoc(*ask, "--no-cite").stdout == "Zephyr walks!\n"
    marked = lcdoc(*ask, "--markdown").stdout
    assert marked == 'Zephyr walks![^1]\n\n[^1]: fox.txt line 1: "Zephyr walks\\!"\n'
    answer = json.loads(lcdoc(*ask, "--json").stdout)
    json_schema("answer").validate(answer)
    (citation,) = answer["citations"]
    assert (citation["source"], citation["page"], citation["status"]) == ("fox.txt", 1, "verified")


BAD_CALLS: dict[str, tuple[list[str], int, str]] = {
    "no question": (["note.txt"], 2, "no question"),
    "no document": (["Is it open?"], 2, "name a document"),
    "missing document": (["gone.pdf", "Is it open?"], 3, "gone.pdf"),
    "missing last document": (["note.txt", "gone.pdf"], 3, "gone.pdf: no such file"),
    "missing document with -q": (["gone", "-q", "What?"], 3, "gone"),
    "empty question": (["note.txt", " "], 2, "empty"),
    "both forms": (["note.txt", "What?", "--json", "--jsonl"], 2, "--jsonl"),
    "bad mode": (["note.txt", "What?", "--mode", "fast"], 2, "auto, exact, stream, duo"),
    "bad number": (["note.txt", "What?", "--seed", "x"], 2, "--seed"),
    "too low": (["note.txt", "What?", "--temperature", "-1"], 2, "0 or more"),
    "unknown option": (["note.txt", "What?", "--fast"], 2, "--fast"),
    "no questions in the file": (["note.txt", "--questions", os.devnull], 2, "no question"),
    "stdin twice": (["-", "--questions", "-"], 2, "stdin"),
    "unknown model": (["note.txt", "What?", "--model", "nonesuch"], 1, "nonesuch"),
    "default model missing": (["note.txt", "What?"], 1, "lcdoc models pull"),
    "bad pages": (["note.txt", "What?", "--pages", "3-1"], 2, "backwards"),
}


@pytest.mark.parametrize(("words", "code", "named"), BAD_CALLS.values(), ids=BAD_CALLS.keys())
def test_bad_call_ends_with_one_line(lcdoc: Run, note: str, words: list[str], code: int, named: str) -> None:
    done = lcdoc("ask", *words)
    assert (done.returncode, done.stdout) == (code, "")
    complaints = [line for line in done.stderr.splitlines() if line.startswith("lcdoc: ")]
    assert len(complaints) == 1 and named in complaints[0]
    assert "Traceback" not in done.stderr


def test_question_that_matches_a_file_pattern(lcdoc: Run, note: str, work: Path) -> None:
    (work / "what1").write_text("text", encoding="utf-8")
    done = lcdoc("ask", note, "what?")
    assert done.returncode == 2
    assert "-q" in done.stderr


def test_control_characters_in_names_and_errors_are_not_shown(lcdoc: Run) -> None:
    done = lcdoc("ask", "\x1b]0;title\x07gone\x1b[2J.pdf", "What?")
    assert done.returncode == 3
    assert "\x1b" not in done.stderr and "gone.pdf" in done.stderr


def test_locale_without_unicode(lcdoc: Run, work: Path, parrot: str) -> None:
    (work / "note.txt").write_text("漢字 émigré\n", encoding="utf-8")
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
    done = lcdoc("ask", "note.txt", "漢字?", "--model", parrot, "--json", fresh=True, **locale)
    assert done.returncode == 0
    assert json.loads(done.stdout)["question"] == "漢字?"


def test_closed_pipe_is_quiet(cli_env: dict[str, str], work: Path, note: str, rambler: str) -> None:
    process = _start(
        cli_env, work, "ask", note, "What?", "--model", rambler, "--quiet", "--max-new-tokens", "100000"
    )
    assert process.stdout is not None and process.stderr is not None
    assert process.stdout.read(3) == "012"
    process.stdout.close()
    assert process.wait(180) == 141
    assert process.stderr.read() == ""


@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_full_disk_is_said(
    cli_env: dict[str, str], work: Path, note: str, parrot: str, unbuffered: str
) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    cli_env["PYTHONUNBUFFERED"] = unbuffered
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "lcdoc", "ask", note, "What?", "--model", parrot, "--quiet"]
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, env=cli_env, cwd=work, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "lcdoc: could not write: No space left on device\n"


def test_interrupt_while_reading_says_how_far(cli_env: dict[str, str], work: Path, parrot: str) -> None:
    (work / "long.txt").write_text("word " * 50_000, encoding="utf-8")
    process = _start(
        cli_env, work, "ask", "long.txt", "What?", "--model", parrot, "--jsonl", "--chunk-tokens", "64"
    )
    _read_until(process, '"tokens_done": 128,')
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 130
    assert '"done"' not in out
    assert re.search(
        r"interrupted after reading (\d[\d,]*) of 250,250 tokens; the first \1 are in the store", err
    )
    assert "Traceback" not in err


def test_interrupt_while_answering_keeps_the_partial_answer(
    cli_env: dict[str, str], work: Path, note: str, rambler: str
) -> None:
    process = _start(
        cli_env, work, "ask", note, "What?", "--model", rambler, "--jsonl", "--max-new-tokens", "100000"
    )
    _read_until(process, '"token"')
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=180)
    assert process.returncode == 130
    done = json.loads(out.splitlines()[-1])
    assert done["answer"]["finish_reason"] == "interrupted"
    assert "0123456789".startswith(done["answer"]["answer"][:10])
    assert "interrupted and is not complete" in err


def test_unexpected_failure_is_one_line(lcdoc: Run, note: str, work: Path) -> None:
    # A module of this name in front of the real one stands for any defect.
    (work / "broken").mkdir()
    (work / "broken" / "psutil.py").write_text("raise RuntimeError('boom')\n", encoding="utf-8")
    broken = {"PYTHONPATH": str(work / "broken")}
    done = lcdoc("doctor", fresh=True, **broken)
    assert done.returncode == 1
    assert done.stderr == "lcdoc: internal error: RuntimeError: boom (LCDOC_TRACEBACK=1 shows where)\n"
    traced = lcdoc("doctor", fresh=True, LCDOC_TRACEBACK="1", **broken)
    assert traced.returncode == 1
    assert "Traceback" in traced.stderr


@pytest.mark.model
def test_default_model_finds_a_fact(
    run_lcdoc: Run, tmp_path: Path, user_folders: Path, json_schema: Schema
) -> None:
    (tmp_path / "note.txt").write_text(
        "The capital of Zubrowka is Lutz. It lies by a lake.\n", encoding="utf-8"
    )
    home = {"LCDOC_HOME": str(user_folders / "lcdoc")}
    done = run_lcdoc("ask", "note.txt", "What is the capital of Zubrowka?", "--json", env=home)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    json_schema("answer").validate(answer)
    assert "Lutz" in answer["answer"]


def _start(env: dict[str, str], cwd: Path, *words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "lcdoc", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env,
        cwd=cwd,
        encoding="utf-8",
    )


def _read_until(process: "subprocess.Popen[Any]", text: str) -> None:
    deadline = time.monotonic() + 180
    assert process.stdout is not None
    while text not in (line := process.stdout.readline()):
        assert line and time.monotonic() < deadline, f"{text} was never printed"
