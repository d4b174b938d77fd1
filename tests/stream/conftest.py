"""lcdoc stream as users run it: a pipe for its input, and a process that can be told things while it reads."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest


@pytest.fixture(scope="session")
def tiny(write_tiny_model: Callable[..., Path]) -> str:
    """Random weights, with a window of 1,024 tokens."""
    return str(write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=1024, spread=0.2))


class Piped:
    """One run of lcdoc whose stdin is a named pipe; there is one at a time."""

    def __init__(self, warm: Any, words: list[str], env: dict[str, str], folder: Path) -> None:
        self._warm, self._folder = warm, folder
        pipe = folder / "pipe"
        if not pipe.exists():
            os.mkfifo(pipe)
        streams = {"stdin": str(pipe), "stdout": str(folder / "out"), "stderr": str(folder / "err")}
        for name in ("out", "err"):
            (folder / name).write_bytes(b"")
        run = {"words": words, "env": env, "cwd": str(folder), "streams": streams}
        warm._process.stdin.write(f"{json.dumps(run)}\n")
        warm._process.stdin.flush()
        self.code: int | None = None
        self._ended = threading.Thread(target=self._wait)
        self._ended.start()
        self._sink = os.open(pipe, os.O_WRONLY)

    def _wait(self) -> None:
        self.code = int(self._warm._process.stdout.readline())

    def send(self, text: str) -> None:
        os.write(self._sink, text.encode())

    def signal(self, number: int) -> None:
        for process in psutil.Process(self._warm._process.pid).children():
            process.send_signal(number)

    @property
    def out(self) -> str:
        return (self._folder / "out").read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        return (self._folder / "err").read_text(encoding="utf-8")

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines() if line.endswith("}")]

    def until(self, done: Callable[[], object]) -> None:
        deadline = time.monotonic() + 120
        while not done():
            assert time.monotonic() < deadline and self.code is None, (self.code, self.out, self.err)
            time.sleep(0.01)

    def end(self, number: int | None = None) -> int:
        """Closes the pipe, or sends the signal, and waits."""
        if number is None:
            self._close_pipe()
        else:
            self.signal(number)
        self._ended.join(120)
        assert self.code is not None
        self._close_pipe()
        return self.code

    def close(self) -> None:
        if self.code is None:
            self.end(signal.SIGKILL)

    def _close_pipe(self) -> None:
        if self._sink >= 0:
            os.close(self._sink)
            self._sink = -1


@pytest.fixture
def piped(warm_lcdoc: Any, cli_env: dict[str, str], tmp_path: Path) -> Iterator[Callable[..., Piped]]:
    runs: list[Piped] = []

    def start(*words: str) -> Piped:
        runs.append(Piped(warm_lcdoc, ["stream", *words], cli_env, tmp_path))
        return runs[-1]

    yield start
    for run in runs:
        run.close()
