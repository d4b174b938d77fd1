"""What every test runs in: no network, no folders of the user's, the pulled model within reach."""

import json
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch

TESTS = Path(__file__).parent
CHECKOUT = TESTS.parent
OFFLINE = TESTS / "offline"
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# What is tested is the installed package: `python -m pytest` would also find the checkout's own folders.
sys.path[:] = [entry for entry in sys.path if Path(entry).resolve() != CHECKOUT]
runpy.run_path(str(OFFLINE / "sitecustomize.py"))
# Read by huggingface_hub once, when it is imported.
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="lcdoc-tests-hub-")
# Read by Triton once, when transformers imports it with a model: without a GPU its kernels are interpreted.
if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

from lcdoc.models import DEFAULT_MODEL, ModelFiles, resolve  # noqa: E402
from lcdoc.models.folders import models_folder  # noqa: E402

# Where the user's own pulled model lies, before any test moves the folders.
PULLED = models_folder()

RunLcdoc = Callable[..., "subprocess.CompletedProcess[str]"]


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("needs a CUDA device")
    if item.get_closest_marker("model"):
        if not DEFAULT_MODEL.path.is_file():
            pytest.fail(f"{DEFAULT_MODEL.path} is missing; run once: lcdoc models pull", pytrace=False)
        _convert_default_model()


@cache
def _convert_default_model() -> None:
    """Converts the model where it was pulled, so that no test pays for it in a folder of its own."""
    from lcdoc.models.pulling import pull_default

    pull_default()


@pytest.fixture(autouse=True)
def user_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Fresh folders for everything lcdoc keeps; they hold nothing but links to the default model's files."""
    home = tmp_path_factory.mktemp("home")
    for name in [name for name in os.environ if name.startswith("LCDOC_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LCDOC_HOME", str(home / "lcdoc"))
    for kind in ("CONFIG", "CACHE", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{kind}_HOME", str(home / kind.lower()))
    _link_default_model(models_folder())
    return home


@pytest.fixture
def empty_home(user_folders: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LCDOC_HOME as on a machine where no model was ever pulled."""
    monkeypatch.setenv("LCDOC_HOME", str(user_folders / "empty"))
    return user_folders / "empty"


@pytest.fixture
def default_model_files() -> ModelFiles:
    """The real default model; only for tests marked `model`."""
    return resolve()


@pytest.fixture
def cli_env(user_folders: Path) -> dict[str, str]:
    """The environment for a Python process of a test's own: the network closed, the same folders."""
    return python_env()


@pytest.fixture
def known_speeds(cli_env: dict[str, str]) -> Path:
    """Made-up speeds of this machine's processor, as if they had been measured; the folder they are kept in."""
    import torch

    from lcdoc.engine.calibration import Calibration, Machine, store_calibration
    from lcdoc.engine.fetching import FetchRate
    from lcdoc.engine.rates import LinearRate, Rates
    from lcdoc.engine.sparse_prefill import SparseRate

    rates = Rates(
        linear=(LinearRate(128, 512, 1e10), LinearRate(1024, 512, 2e10)),
        causal_flops_per_s=1e10,
        dense_flops_per_s=2e10,
        unpacked_per_s={"bfloat16": 3e9, "int8": 1e9, "int4": 3e8},
        bytes_per_s=1e10,
        attended_bytes_per_s=1e10,
        layer_step_s=1e-4,
        sparse=dict.fromkeys(("model", "bfloat16", "int8", "int4"), SparseRate(64, 1.0)),
        pages_from_tokens=64,
        fetched={"cached": FetchRate(1e-3, 1e10), "disk": FetchRate(1e-3, 1e9)},
    )
    folder = Path(cli_env["LCDOC_HOME"]) / "calibrations"
    for dtype in (torch.float32, torch.bfloat16):
        machine = Machine.this(torch.device("cpu"), dtype)
        store_calibration(folder, Calibration(machine, "2026-01-01T00:00:00+00:00", rates))
    return folder


@pytest.fixture(scope="session")
def json_schema() -> Callable[[str], Any]:
    """Makes a validator of what a command prints as JSON, by the name of its schema."""
    from jsonschema import Draft202012Validator
    from referencing import Registry, Resource

    folder = resources.files("lcdoc.cli")
    files = [entry for entry in folder.iterdir() if entry.name.endswith(".schema.json")]
    contents = {file.name.split(".")[0]: json.loads(file.read_text("utf-8")) for file in files}
    registry: Any = Registry().with_resources(
        (content["$id"], Resource.from_contents(content)) for content in contents.values()
    )

    def validator(name: str) -> Draft202012Validator:
        Draft202012Validator.check_schema(contents[name])
        return Draft202012Validator(contents[name], registry=registry)

    return validator


@pytest.fixture(scope="session")
def write_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Writes a Llama of random weights with a tokenizer of its own, and returns its folder.

    digits: "alone", a token each, or "joined" as the tokenizer learns them. vocab_size: at most. window: tokens of
    context. spread: of the random weights.
    """

    def write(digits: str, vocab_size: int, num_layers: int, window: int, spread: float) -> Path:
        import torch
        from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
        from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

        from lcdoc.evaluate.haystack import Haystack

        byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer = byte_level
        if digits == "alone":
            bpe.pre_tokenizer = pre_tokenizers.Sequence(
                [pre_tokenizers.Digits(individual_digits=True), byte_level]
            )
        bpe.decoder = decoders.ByteLevel()
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=["<|im_start|>", "<|im_end|>"],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator([Haystack.open("frankenstein", None).text[:50_000]], trainer)
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="<|im_end|>")
        tokenizer.chat_template = CHAT_TEMPLATE
        config = LlamaConfig(
            vocab_size=bpe.get_vocab_size(),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=window,
            bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id,
            initializer_range=spread,
        )
        torch.manual_seed(0)
        folder = tmp_path_factory.mktemp("models") / "tiny"
        LlamaForCausalLM(config).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return write


class WarmLcdoc:
    """Runs of lcdoc that need not import torch and transformers first, one at a time; see warm_lcdoc.py."""

    def __init__(self, folder: Path) -> None:
        self._streams = {name: str(folder / name) for name in ("stdin", "stdout", "stderr")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", TESTS / "warm_lcdoc.py"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            # No import may touch a GPU: forks could not use it.
            env={**python_env(), "PYTORCH_NVML_BASED_CUDA_CHECK": "1"},
            encoding="utf-8",
        )

    def run(
        self,
        words: Sequence[str],
        input: str,
        env: Mapping[str, str],
        cwd: Path,
        streams: Mapping[str, str | None],
    ) -> "subprocess.CompletedProcess[str]":
        """streams: other files for some of the three; None for one that is closed."""
        for name, text in (("stdin", input), ("stdout", ""), ("stderr", "")):
            Path(self._streams[name]).write_bytes(text.encode())
        run = {"words": words, "env": dict(env), "cwd": str(cwd), "streams": {**self._streams, **streams}}
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(run)}\n")
        self._process.stdin.flush()
        code = int(self._process.stdout.readline())
        out, err = (Path(self._streams[name]).read_bytes().decode() for name in ("stdout", "stderr"))
        return subprocess.CompletedProcess(["lcdoc", *words], code, out, err)

    def close(self) -> None:
        self._process.communicate()


@pytest.fixture(scope="session")
def warm_lcdoc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WarmLcdoc]:
    warm = WarmLcdoc(tmp_path_factory.mktemp("streams"))
    yield warm
    warm.close()


@pytest.fixture
def run_lcdoc(cli_env: dict[str, str], tmp_path: Path, warm_lcdoc: WarmLcdoc) -> RunLcdoc:
    """Runs lcdoc in a process and a folder of its own; `env` adds to cli_env, `input` goes to stdin. fresh: starts
    Python anew for it, for what depends on that. streams: see WarmLcdoc.run; not with fresh."""

    def run(
        *args: str | Path,
        input: str = "",
        env: Mapping[str, str] | None = None,
        cwd: Path = tmp_path,
        fresh: bool = False,
        streams: Mapping[str, str | None] | None = None,
    ) -> "subprocess.CompletedProcess[str]":
        words, env = [str(word) for word in args], {**cli_env, **(env or {})}
        if not fresh:
            return warm_lcdoc.run(words, input, env, cwd, streams or {})
        return subprocess.run(
            [sys.executable, "-m", "lcdoc", *words],
            input=input,
            env=env,
            cwd=cwd,
            capture_output=True,
            encoding="utf-8",
            timeout=600,
            check=False,
        )

    return run


@pytest.fixture
def call_lcdoc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> RunLcdoc:
    """As run_lcdoc, in this process: the same entry point without the seconds that a start takes."""
    from lcdoc.cli import main

    def call(*args: str | Path) -> "subprocess.CompletedProcess[str]":
        words = ["lcdoc", *map(str, args)]
        monkeypatch.setattr(sys, "argv", words)
        monkeypatch.chdir(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        return subprocess.CompletedProcess(words, int(done.value.code or 0), *capsys.readouterr())

    return call


def python_env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(OFFLINE), "PYTHONUTF8": "1"}


def _link_default_model(target: Path) -> None:
    """The same folders, with a link for each file: removing the copies leaves the originals alone.

    Other models that were pulled or converted on this machine stay out of the tests.
    """
    conversions = f"converted/{DEFAULT_MODEL.file_sha256[:32]}-*/*"
    for pattern in ("hashes.json", f"{DEFAULT_MODEL.name}/[!.]*", conversions):
        for path in sorted(PULLED.glob(pattern)):
            link = target / path.relative_to(PULLED)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
