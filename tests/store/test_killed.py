"""`lcdoc ask` killed at random moments, and started again."""

import json
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from lcdoc.store.store import Store

QUESTION = "Where did the boat go?"
# With THOROUGH set in the environment, 60,000 tokens and 20 kills.
THOROUGH = bool(os.environ.get("THOROUGH"))
KILLS, CHUNK, DAYS, WINDOW = (20, 256, 2_600, 131_072) if THOROUGH else (4, 64, 160, 16_384)
LONGEST_S = 0.02  # from the chunk that is chosen to the signal


@pytest.fixture(scope="session")
def tiny(write_tiny_model: Callable[..., Path]) -> Path:
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=4, window=WINDOW, spread=0.2)


@pytest.fixture
def kill_after(warm_lcdoc: Any) -> Callable[[int, float], threading.Thread]:
    """Kills the run that is about to be started, so many seconds after it told of so many chunks."""

    def start(chunks: int, delay_s: float) -> threading.Thread:
        out = Path(warm_lcdoc._streams["stdout"])
        out.write_bytes(b"")

        def kill() -> None:
            deadline = time.monotonic() + 60
            while out.read_bytes().count(b'"prefill"') < chunks and time.monotonic() < deadline:
                time.sleep(0.003)
            time.sleep(delay_s)
            for run in psutil.Process(warm_lcdoc._process.pid).children():
                run.kill()

        thread = threading.Thread(target=kill)
        thread.start()
        return thread

    return start


def test_every_restart_goes_on_and_nothing_is_lost_or_read_twice(
    warm_lcdoc: Any,
    kill_after: Callable[[int, float], threading.Thread],
    tiny: Path,
    tmp_path: Path,
    cli_env: dict[str, str],
) -> None:
    lines = (
        f"On day {day} boat {day * 37 % 101} left the harbour for island {day}." for day in range(1, DAYS)
    )
    (tmp_path / "boats.txt").write_text("\n".join(lines), encoding="utf-8")
    options = [
        "--model",
        str(tiny),
        "--chunk-tokens",
        str(CHUNK),
        "--device",
        "cpu",
        "--max-new-tokens",
        "12",
    ]
    command = ["ask", "boats.txt", QUESTION, *options, "--jsonl"]
    store, chance = Store(Path(cli_env["LCDOC_HOME"]) / "store"), random.Random(7)
    files: dict[str, int] = {}
    reported, killed = 0, 0
    for attempt in range(KILLS):
        killer = kill_after(chance.randint(12 * attempt + 2, 12 * attempt + 12), chance.uniform(0, LONGEST_S))
        done = warm_lcdoc.run(command, "", cli_env, tmp_path, {})
        killer.join()
        killed += done.returncode == -9
        written = {block.path.name: block.path.stat().st_ino for block in store.blocks()}
        assert files.items() <= written.items(), "a block is gone, or was written twice"
        files = written
        events = [json.loads(line) for line in done.stdout.splitlines() if line.endswith("}")]
        stored = [event["tokens_stored"] for event in events if event["event"] == "prefill"]
        reported = max([reported, *stored])
        # The head's tokens are in the first block and not counted as the document's.
        assert len(files) * CHUNK >= reported
    assert killed >= 2
    last = warm_lcdoc.run(command, "", cli_env, tmp_path, {})
    whole = warm_lcdoc.run([*command, "--store", "off"], "", cli_env, tmp_path, {})
    answers = [json.loads(done.stdout.splitlines()[-1])["answer"] for done in (last, whole)]
    assert answers[0]["answer"] == answers[1]["answer"]
    receipts = [answer["receipt"] for answer in answers]
    total = receipts[0]["tokens_total"]
    assert receipts[0]["tokens_from_store"] >= reported > 0 and receipts[1]["tokens_from_store"] == 0
    assert receipts[0]["tokens_read"] == receipts[1]["tokens_read"] == total > KILLS * CHUNK * 12
    assert f"{receipts[0]['tokens_from_store']:,} of {total:,} tokens came from the store" in last.stderr
    again = warm_lcdoc.run(command, "", cli_env, tmp_path, {})
    answer = json.loads(again.stdout.splitlines()[-1])["answer"]
    assert answer["receipt"]["tokens_from_store"] == total
    assert answer["answer"] == answers[1]["answer"]
