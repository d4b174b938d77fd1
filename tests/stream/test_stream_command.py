"""`lcdoc stream` on a text that ends, and on a pipe that doesn't."""

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

KILLS = 20 if os.environ.get("THOROUGH") else 3  # with THOROUGH set in the environment
QUESTION = "Which boat left last?"
LINES = [
    f"On day {day} boat {day * 37 % 101} left the harbour for island {day}.\n" for day in range(1, 30 * KILLS)
]
OPTIONS = (
    "--dtype",
    "float32",
    "--device",
    "cpu",
    "--max-new-tokens",
    "8",
    "--chunk-tokens",
    "32",
    "--recent-size",
    "128",
    "--keep",
    "48",
)


def run(run_lcdoc: Callable[..., Any], model: str, text: str, *words: str | Path) -> Any:
    return run_lcdoc("stream", "--model", model, *OPTIONS, *words, input=text)


def events(done: Any) -> list[dict[str, Any]]:
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_digests_alone_on_stdout(run_lcdoc: Callable[..., Any], tiny: str, tmp_path: Path) -> None:
    done = run(run_lcdoc, tiny, "".join(LINES[:15]), "--every", "5 lines", "--notes", tmp_path / "notes.txt")
    assert done.returncode == 0
    digests = done.stdout.rstrip("\n").split("\n\n")
    assert len(digests) == 3 and all(digest.strip() for digest in digests)
    assert done.stderr.count("held: the first 8") == 3
    assert "notes of" in done.stderr and "dropped" in done.stderr
    notes = (tmp_path / "notes.txt").read_text()
    assert notes.startswith("[tokens 0-") and len(notes.splitlines()) >= 3
    assert (tmp_path / "notes.txt").stat().st_mode & 0o777 == 0o600


def test_events_follow_their_schema(
    run_lcdoc: Callable[..., Any], tiny: str, json_schema: Callable[[str], Any]
) -> None:
    found = events(run(run_lcdoc, tiny, "".join(LINES), "--every", "500tokens", "--ask", QUESTION, "--jsonl"))
    for event in found:
        json_schema("stream").validate(event)
    answers = [event for event in found if event["event"] == "answer"]
    assert [answer["offsets"]["tokens"] for answer in answers[:-1]] == [
        500 * number for number in range(1, len(answers))
    ]
    last, receipt = answers[-1], answers[-1]["receipt"]
    assert last["reason"] == "end" and last["offsets"]["lines"] == len(LINES)
    assert last["offsets"]["bytes"] == len("".join(LINES))
    held = [receipt["sinks"], *receipt["kept"], receipt["window"]]
    spans = [span["stop"] - span["start"] for span in held]
    assert receipt["tokens_dropped"] == last["offsets"]["tokens"] - sum(spans) > 0
    assert sum(spans[1:-1]) == 48 and receipt["highest_position"] < receipt["context_tokens"] == 1024
    text = "".join(LINES)
    assert all(span["text"].strip() in text for span in receipt["kept"])


def test_no_text_is_an_error(run_lcdoc: Callable[..., Any], tiny: str) -> None:
    done = run(run_lcdoc, tiny, "")
    assert done.returncode == 3 and "no text came" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--every", "often"), "--every must be a number of tokens"),
        (("--recent-size", "2000"), "take a smaller --recent-size"),
        (("--flush-after", "-1"), "--flush-after must be 0 seconds or more"),
        (("--state", "nowhere/state"), "there is no folder nowhere"),
    ],
)
def test_wrong_wishes(run_lcdoc: Callable[..., Any], tiny: str, words: tuple[str, ...], said: str) -> None:
    done = run(run_lcdoc, tiny, "text\n", *words)
    assert done.returncode == 2 and said in done.stderr


def test_a_file_goes_on_where_it_was_and_ends_as_without_a_break(
    run_lcdoc: Callable[..., Any], tiny: str, tmp_path: Path
) -> None:
    words = ("--every", "20lines", "--ask", QUESTION, "--jsonl")
    whole = events(run(run_lcdoc, tiny, "".join(LINES), *words))[-2]
    state = tmp_path / "state"
    events(run(run_lcdoc, tiny, "".join(LINES[:50]), *words, "--state", state))
    done = run(run_lcdoc, tiny, "".join(LINES), *words, "--state", state)
    assert "going on after" in done.stderr and "nothing of the file is missed" in done.stderr
    found = events(done)
    assert found[0]["resumed_tokens"] > 0
    last = [event for event in found if event["event"] == "answer"][-1]
    assert (last["text"], last["receipt"], last["offsets"]) == (
        whole["text"],
        whole["receipt"],
        whole["offsets"],
    )
    other = run(run_lcdoc, tiny, "".join(LINES[::-1]), *words, "--state", state)
    assert other.returncode == 2 and "give the same text" in other.stderr
    wider = run(run_lcdoc, tiny, "".join(LINES), *words, "--state", state, "--keep", "40")
    assert wider.returncode == 2 and "was saved with sizes" in wider.stderr
    data = bytearray(state.read_bytes())
    data[-100] ^= 1
    state.write_bytes(data)
    broken = run(run_lcdoc, tiny, "".join(LINES), *words, "--state", state)
    assert broken.returncode == 1 and "its checksum is wrong" in broken.stderr


def test_a_line_is_answered_without_a_full_chunk(piped: Callable[..., Any], tiny: str) -> None:
    one = piped(
        "--model", tiny, *OPTIONS, "--every", "1h", "--flush-after", "0.05", "--jsonl", "--ask", QUESTION
    )
    one.send("Boat seven left")
    one.until(lambda: one.events)
    one.signal(signal.SIGUSR1)
    one.until(lambda: len(one.events) == 2)
    asked = one.events[1]
    assert asked["reason"] == "asked" and asked["offsets"]["bytes"] == 15
    one.send(" at noon.\n")
    assert one.end(signal.SIGINT) == 130
    last = one.events[-1]
    assert last["event"] == "end" and not last["finished"]
    assert "interrupted after" in one.err


def test_killed_at_any_moment_nothing_that_came_is_lost(
    piped: Callable[..., Any], run_lcdoc: Callable[..., Any], tiny: str, tmp_path: Path
) -> None:
    words = ("--every", "200tokens", "--ask", QUESTION, "--jsonl")
    whole = events(run(run_lcdoc, tiny, "".join(LINES), *words))
    chance, sent = random.Random(5), 0
    for _ in range(KILLS):
        one = piped("--model", tiny, *OPTIONS, *words, "--state", "state", "--save-every", "0.05")
        stop = sent + chance.randint(1, len(LINES) // KILLS)
        one.send("".join(LINES[sent:stop]))
        sent, few = stop, chance.randint(1, 4)
        one.until(lambda one=one, few=few: len(one.events) >= few)
        one.until(lambda stop=stop: _taken(tmp_path / "state.journal") == len("".join(LINES[:stop])))
        assert one.end(signal.SIGKILL) == -signal.SIGKILL
    one = piped("--model", tiny, *OPTIONS, *words, "--state", "state")
    one.send("".join(LINES[sent:]))
    assert one.end() == 0
    assert "going on after" in one.err and "not known" in one.err
    last = [event for event in one.events if event["event"] == "answer"][-1]
    expected = [event for event in whole if event["event"] == "answer"][-1]
    assert last["offsets"] == expected["offsets"] and last["text"] == expected["text"]
    assert last["receipt"] == expected["receipt"]


def _taken(journal: Path) -> int:
    """Bytes of the stream up to the journal's end."""
    data = journal.read_bytes()
    head, _, rest = data.partition(b"\n")
    return int(head.removeprefix(b"lcdoc journal ")) + len(rest)


def test_a_lost_journal_is_told(piped: Callable[..., Any], tiny: str, tmp_path: Path) -> None:
    words = ("--model", tiny, *OPTIONS, "--ask", QUESTION, "--jsonl", "--state", "state", "--save-every", "0")
    one = piped(*words)
    one.send("".join(LINES[:10]))
    one.until(lambda: any(event["event"] == "saved" and event["offsets"]["lines"] for event in one.events))
    one.end(signal.SIGKILL)
    (tmp_path / "state.journal").unlink()
    again = piped(*words)
    again.send("A last line.\n")
    assert again.end() == 0
    assert "there is no journal of it" in again.err
    assert again.events[-1]["offsets"]["bytes"] >= len("A last line.\n")
