"""`lcdoc ask` on a terminal: the live panel, the chat, the offer of the default model."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

OpenTerminal = Callable[..., Any]
HIDE_CURSOR, SHOW_CURSOR = "\x1b[?25l", "\x1b[?25h"
COLOR = re.compile(r"\x1b\[[\d;]*3\d(;\d+)*m")


@pytest.fixture
def note(work: Path) -> str:
    (work / "note.txt").write_text("The safe opens with 7731.\n", encoding="utf-8")
    return "note.txt"


@pytest.fixture
def long(work: Path) -> str:
    (work / "long.txt").write_text("word " * 50_000, encoding="utf-8")
    return "long.txt"


def test_panel_shows_the_reading_and_is_gone_before_the_answer(
    terminal: OpenTerminal, work: Path, babbler: str
) -> None:
    (work / "some.txt").write_text("word " * 2_000, encoding="utf-8")
    screen = terminal(
        "ask", "some.txt", "What?", "--model", babbler, "--chunk-tokens", "64", "--max-new-tokens", "20"
    )
    screen.expect(r"parsing")
    screen.expect(r"loading the model")
    screen.expect(r"reading [\d,]+ of 10,010 tokens[^\n]*\r\n[^\n]*━+[^\n]*\r\n")
    screen.expect(r"tokens/s · \d+:\d\d left · KV .* · memory .* · \d+:\d\d")
    before_answer = screen.expect(r"(?s)(.*)bla bla bla")[1]
    assert before_answer.rindex(SHOW_CURSOR) > before_answer.rfind(HIDE_CURSOR)
    code, rest = screen.end()
    assert code == 0
    assert "read 10,010 of 10,010 tokens" in rest
    assert HIDE_CURSOR not in rest


def test_dumb_terminal_has_no_panel(terminal: OpenTerminal, note: str, parrot: str) -> None:
    code, screen = terminal("ask", note, "What?", "--model", parrot, TERM="dumb").end()
    assert code == 0
    assert "\x1b" not in screen
    assert "loading the model\r\n" in screen and "Yes.\r\n" in screen


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_no_color(terminal: OpenTerminal, long: str, parrot: str, how: str) -> None:
    words = ["ask", long, "What?", "--model", parrot, "--chunk-tokens", "64"]
    screen = terminal(*words, "--no-color") if how == "flag" else terminal(*words, NO_COLOR="1")
    shown = screen.expect(r"(?s)(.*reading [1-9][\d,]+ of 250,250 tokens.*left)")[1]
    assert not COLOR.search(shown)


def test_color_by_default(terminal: OpenTerminal, long: str, parrot: str) -> None:
    screen = terminal("ask", long, "What?", "--model", parrot, "--chunk-tokens", "64")
    assert COLOR.search(screen.expect(r"(?s)(.*reading [1-9][\d,]+ of 250,250 tokens.*left)")[1])


def test_quiet_shows_the_answer_alone(terminal: OpenTerminal, note: str, parrot: str) -> None:
    assert terminal("ask", note, "What?", "--model", parrot, "--quiet").end() == (0, "Yes.\r\n")


def test_interrupt_while_reading_restores_the_screen(terminal: OpenTerminal, long: str, parrot: str) -> None:
    screen = terminal("ask", long, "What?", "--model", parrot, "--chunk-tokens", "64")
    screen.expect(r"reading [1-9][\d,]+ of 250,250")
    screen.interrupt()
    code, rest = screen.end()
    assert code == 130
    assert re.search(r"interrupted after reading [\d,]+ of 250,250 tokens", rest)
    assert rest.rindex(SHOW_CURSOR) > rest.rfind(HIDE_CURSOR)


def test_second_interrupt_leaves_at_once(cli_env: dict[str, str]) -> None:
    code = """
import os, signal
from lcdoc.cli.exits import interruptible
with interruptible():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    except KeyboardInterrupt:
        print("first", flush=True)
        os.kill(os.getpid(), signal.SIGINT)
        print("still here", flush=True)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=cli_env, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "first\n", "")


def test_interrupt_while_answering_marks_the_partial_answer(
    terminal: OpenTerminal, note: str, rambler: str
) -> None:
    screen = terminal("ask", note, "What?", "--model", rambler, "--max-new-tokens", "100000")
    screen.expect(r"0123456789;<=>")
    screen.interrupt()
    code, rest = screen.end()
    assert code == 130
    assert "the answer was interrupted and is not complete" in rest


def test_chat(terminal: OpenTerminal, work: Path, note: str, parrot: str) -> None:
    screen = terminal("ask", note, "--model", parrot)
    screen.expect(r"read 27 of 27 tokens")
    screen.expect(r"/help lists the commands")
    for question in ("Does it open?", "Really?"):
        screen.expect(r"> ")
        screen.type(f"{question}\r")
        screen.expect(r"Yes\.\r\n")
    saved = r"2 answers written to talk\.md"
    for command, reply in {
        "/help": r"/receipt  how they were read",
        "/save": r"/save needs the name of a file",
        "/save talk.md": saved,
        "/save  talk.md": r"talk\.md is there already",
        "/save none/talk.md": r"none/talk\.md can't be written: No such file",
        "/keep": r"are seen by those after them",
        "/keep maybe": r"/keep takes on or off, not maybe",
        "/keep off": r"are forgotten once they are answered",
        "/pages": r"note\.txt: read lines 1 of 1",
        "/receipt": r"exact",
        "/reset": r"Only the document is remembered",
        "/nonsense": r"/nonsense: no such command",
    }.items():
        screen.expect(r"> ")
        screen.type(f"{command}\r")
        screen.expect(reply)
    screen.expect(r"> ")
    screen.type("\x04")
    assert screen.end()[0] == 0
    talk = (work / "talk.md").read_text(encoding="utf-8")
    assert talk.startswith("## Does it open?\n\nYes.\n\n## Really?\n\nYes.\n\nread 27 of 27 tokens")


def test_chat_over_parts(terminal: OpenTerminal, work: Path, write_tiny_model: Callable[..., Path]) -> None:
    model = write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=1024, spread=0.2)
    (work / "book.txt").write_text("The ship lay in the ice.\n" * 300, encoding="utf-8")
    screen = terminal(
        "ask",
        "book.txt",
        "--model",
        str(model),
        "--fusion",
        "parts",
        "--max-new-tokens",
        "8",
        "--store",
        "off",
    )
    screen.expect(r"Each question is answered by itself")
    for line, reply in (
        ("/pages", r"Nothing was asked yet"),
        ("Where?", r"the answer was cut"),
        ("/receipt", r"passages that bear on the question were read again"),
        ("/pages", r"book\.txt: read lines"),
    ):
        screen.expect(r"> ")
        screen.type(f"{line}\r")
        screen.expect(reply)
    screen.expect(r"> ")
    screen.type("\x04")
    assert screen.end()[0] == 0


def test_chat_interrupts(terminal: OpenTerminal, note: str, rambler: str) -> None:
    screen = terminal("ask", note, "--model", rambler, "--max-new-tokens", "100000")
    screen.expect(r"> ")
    screen.type("Say?\r")
    screen.expect(r"0123456789;<=>")
    screen.interrupt()
    screen.expect(r"interrupted and is not complete")
    screen.expect(r"> ")
    screen.interrupt()
    screen.expect(r"Ctrl-C again leaves")
    screen.expect(r"> ")
    screen.interrupt()
    assert screen.end()[0] == 130


@pytest.mark.parametrize("reply", ["n", ""])
def test_missing_default_model_is_offered(terminal: OpenTerminal, note: str, reply: str) -> None:
    screen = terminal("ask", note, "What?")
    screen.expect(r"The default model is not on this machine. Get it now \(93\.8 MiB\)\? \[y/N\]: ")
    screen.type(f"{reply}\r")
    code, rest = screen.end()
    assert code == 1
    assert "get it with: lcdoc models pull" in rest
