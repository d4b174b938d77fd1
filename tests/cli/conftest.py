"""The command as users run it: in a process of its own, piped or on a terminal, with a home of its own."""

import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from fcntl import ioctl
from pathlib import Path
from typing import Any

import pytest

COMMAND = [sys.executable, "-m", "lcdoc"]
DEADLINE_S = 180
WINDOW = 300_000


@pytest.fixture
def cli_env(cli_env: dict[str, str], tmp_path: Path) -> dict[str, str]:
    """A colour terminal, and no model on this machine."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES"):
        cli_env.pop(name, None)
    return {
        **cli_env,
        "LCDOC_HOME": str(tmp_path / "empty"),
        "TERM": "xterm-256color",
        "OMP_NUM_THREADS": "1",
    }


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """The folder that commands run in."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


@pytest.fixture
def lcdoc(run_lcdoc: Callable[..., Any], work: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """As run_lcdoc, in the folder of work; keywords in capitals are variables of its environment."""

    def run(
        *words: str, stdin: str = "", fresh: bool = False, **env: str
    ) -> subprocess.CompletedProcess[str]:
        return run_lcdoc(*words, input=stdin, env=env, cwd=work, fresh=fresh)

    return run


class Terminal:
    """A command whose three streams are one pseudo-terminal."""

    def __init__(self, words: list[str], env: dict[str, str], cwd: Path, columns: int) -> None:
        self.screen = ""
        main, side = pty.openpty()
        ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
        self._main = main
        self._process = subprocess.Popen(
            [*COMMAND, *words],
            stdin=side,
            stdout=side,
            stderr=side,
            env=env,
            cwd=cwd,
            start_new_session=True,
            preexec_fn=_as_a_shell_would,
        )
        os.close(side)

    def expect(self, pattern: str) -> re.Match[str]:
        """Waits until the pattern has appeared, and forgets the screen up to its end."""
        deadline = time.monotonic() + DEADLINE_S
        while not (match := re.search(pattern, self.screen)):
            if time.monotonic() > deadline or not self._read(1.0):
                raise AssertionError(f"{pattern!r} never appeared; the screen holds {self.screen[-2000:]!r}")
        self.screen = self.screen[match.end() :]
        return match

    def type(self, text: str) -> None:
        os.write(self._main, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C, a human's moment later."""
        moment = time.monotonic() + 0.3
        while (left := moment - time.monotonic()) > 0:
            self._read(left)
        self.type("\x03")

    def end(self) -> tuple[int, str]:
        """Waits for the end; the exit code and all of the screen since the last expect()."""
        deadline = time.monotonic() + DEADLINE_S
        while self._read(1.0):
            assert time.monotonic() < deadline, f"still running; the screen holds {self.screen[-2000:]!r}"
        return self._process.wait(DEADLINE_S), self.screen

    def close(self) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        os.close(self._main)

    def _read(self, timeout_s: float) -> bool:
        """Takes what has been written; False once the command has closed its side."""
        if not select.select([self._main], [], [], timeout_s)[0]:
            return True
        try:
            data = os.read(self._main, 65536)
        except OSError:
            return False
        self.screen += data.decode("utf-8", "replace")
        return bool(data)


def _as_a_shell_would() -> None:
    """The terminal is the command's own, and Ctrl-C reaches it even where the tests' own shell ignores it."""
    ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture
def terminal(cli_env: dict[str, str], work: Path) -> Iterator[Callable[..., Terminal]]:
    opened: list[Terminal] = []

    def open_terminal(*words: str, columns: int = 100, **env: str) -> Terminal:
        opened.append(Terminal(list(words), {**cli_env, **env}, work, columns))
        return opened[-1]

    yield open_terminal
    for one in opened:
        one.close()


@pytest.fixture(scope="session")
def parrot(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that answers every question with bold type, an override and "Yes.", and ends."""
    return write_chain_model(tmp_path_factory.mktemp("models") / "parrot", ":\x1b[1mYes\u202e.", loops=False)


@pytest.fixture(scope="session")
def babbler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that answers every question with "bla bla bla" without end."""
    return write_chain_model(tmp_path_factory.mktemp("models") / "babbler", ":bla ", loops=True)


@pytest.fixture(scope="session")
def giggler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that answers every question with "ha ha ha" without end."""
    return write_chain_model(tmp_path_factory.mktemp("models") / "giggler", ":ha ", loops=True)


@pytest.fixture(scope="session")
def rambler(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model that answers every question with "0123456789;..." without end, but in no circle that is noticed."""
    chain = ":" + "".join(chr(code) for code in range(ord("0"), ord("~")) if chr(code) != ":")
    return write_chain_model(tmp_path_factory.mktemp("models") / "rambler", chain, loops=True)


@pytest.fixture
def speaker(tmp_path: Path) -> Callable[[str], str]:
    """Makes a model that answers every question with a text of different bytes, and ends."""
    return lambda text: write_chain_model(tmp_path / "speaker", f":{text}", loops=False)


def write_chain_model(folder: Path, chain: str, loops: bool) -> str:
    """Writes a real, tiny Llama that goes through the chain, then ends or starts again at its second byte.

    chain: different bytes, the first of which ends the prompt (":" for a prompt without a template).
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    alphabet = ["<end>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({letter: index for index, letter in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>").save_pretrained(folder)
    steps = tokenizer.encode(chain).ids
    assert len(set(steps)) == len(steps), "a byte can have only one follower"
    hidden_size = 264
    config = LlamaConfig(
        vocab_size=len(alphabet),
        hidden_size=hidden_size,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=WINDOW,
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=0,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        # Attention and MLP run but add nothing, so that the last token alone decides.
        for layer in model.model.layers:
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(alphabet), hidden_size))
        model.lm_head.weight.zero_()
        for step, follower in zip(steps, [*steps[1:], steps[1] if loops else 0], strict=True):
            model.lm_head.weight[follower, step] = 10.0
    model.save_pretrained(folder)
    return str(folder)
