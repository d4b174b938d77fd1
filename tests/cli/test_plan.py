"""`lcdoc plan`: the same choice as `ask` makes, without weights, for devices and models that may not be here."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lcdoc.cli.plan import parse_tokens
from lcdoc.engine.calibration import Machine
from lcdoc.errors import UsageError

Run = Callable[..., subprocess.CompletedProcess[str]]
Checked = Callable[[subprocess.CompletedProcess[str]], dict[str, Any]]
LLAMA_3_8B = Path(__file__).parents[1] / "data" / "configs" / "llama-3-8b.json"
LLAMA = ("--model-config", str(LLAMA_3_8B))
# A device elsewhere needs no measuring.
ELSEWHERE = ("--device", "cuda", "--budget", "24GB")
LLAMA_PARAMETERS = 8_030_261_248


@pytest.fixture
def checked(json_schema: Callable[[str], Any]) -> Checked:
    """The plan that was printed, once it is seen to be one."""

    def check(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
        result: dict[str, Any] = json.loads(done.stdout)
        json_schema("plan").validate(result)
        return result

    return check


@pytest.fixture
def cli_env(cli_env: dict[str, str]) -> dict[str, str]:
    """No CUDA device is here, whatever the machine has."""
    return {**cli_env, "CUDA_VISIBLE_DEVICES": ""}


@pytest.fixture
def story(work: Path) -> str:
    (work / "story.txt").write_text("word " * 2_400, encoding="utf-8")
    return "story.txt"


@pytest.fixture
def profile(work: Path) -> str:
    """Gates of no model at all: each head's rank."""
    rows = [[(layer * 8 + head) / 256 for head in range(8)] for layer in range(32)]
    text = f"model: llama-3-8b\ngates: {rows}\nsink_size: 64\nrecent_size: 256\nsource: made up\n"
    (work / "ranks.yaml").write_text(text, encoding="utf-8")
    return "ranks.yaml"


def test_the_table_and_a_measuring_that_is_kept(
    lcdoc: Run, story: str, parrot: str, known_speeds: Path
) -> None:
    words = ("plan", story, "--model", parrot)
    done = lcdoc(*words)
    assert done.returncode == 0
    assert re.match(r"parrot, \w+, on cpu: 12,\d{3} tokens", done.stdout)
    [chosen] = [line for line in done.stdout.splitlines() if line.startswith("  > ")]
    assert re.match(r"  > exact( +[\d.]+ [KMG]?i?B){4} +\d+:\d\d \+ \d+:\d\d +chosen +nothing", chosen)
    assert done.stdout.splitlines()[-1] == "this reads it exactly: nothing is given up"
    assert "measuring" not in done.stderr
    kept = {path: path.read_text(encoding="utf-8") for path in known_speeds.iterdir()}
    assert "measuring" in lcdoc(*words, "--recalibrate").stderr
    assert sum(path.read_text(encoding="utf-8") != text for path, text in kept.items()) == 1
    assert "measuring" not in lcdoc(*words).stderr


def test_a_damaged_measurement_is_made_again(
    lcdoc: Run, story: str, parrot: str, known_speeds: Path, checked: Checked
) -> None:
    words = ("plan", story, "--model", parrot, "--json")
    first = checked(lcdoc(*words))
    path = known_speeds / Machine(**first["calibration"]["machine"]).file_name
    kept = json.loads(path.read_text(encoding="utf-8"))
    assert {name: kept[name] for name in ("machine", "date", "rates")} == first["calibration"]
    path.write_text(path.read_text(encoding="utf-8")[:100], encoding="utf-8")
    again = lcdoc(*words)
    assert "measuring" in again.stderr
    assert json.loads(path.read_text(encoding="utf-8"))["rates"] == checked(again)["calibration"]["rates"]


def test_a_measurement_that_cannot_be_kept_is_said_and_used(
    lcdoc: Run, story: str, parrot: str, work: Path, checked: Checked
) -> None:
    home = work / "file"
    home.write_text("", encoding="utf-8")
    done = lcdoc("plan", story, "--model", parrot, "--json", LCDOC_HOME=str(home))
    assert done.returncode == 0
    assert "can't be kept" in done.stderr and str(home) in done.stderr
    assert all(way["prefill_s"] > 0 and way["answer_s"] > 0 for way in checked(done)["ways"])


@pytest.mark.usefixtures("known_speeds")
def test_the_same_choice_as_ask_makes(lcdoc: Run, story: str, parrot: str, checked: Checked) -> None:
    common = ("--model", parrot, "--dtype", "float32", "--json", "--max-new-tokens", "64")
    free = checked(lcdoc("plan", story, *common))
    assert free["chosen"] == "exact" and free["exact"] is None
    peaks = {way["name"]: way["predicted_peak_bytes"] for way in free["ways"]}
    # Too little for an exact reading in the smallest chunks, by half of what 16 bits save.
    budget = f"{(peaks['chunks of 128'] + peaks['bfloat16 KV']) // 2}B"
    less = checked(lcdoc("plan", story, *common, "--budget", budget))
    assert less["chosen"] == "bfloat16 KV"
    asked = lcdoc("ask", story, "What?", *common, "--budget", budget)
    assert asked.returncode == 0, asked.stderr
    answer = json.loads(asked.stdout)
    assert answer["plan"]["rung"] == less["chosen"]
    [chosen] = [way for way in less["ways"] if way["chosen"]]
    assert chosen["fits"] and chosen["loss"] == answer["plan"]["loss"]
    predicted = answer["plan"]["predicted_peak_bytes"]
    assert abs(chosen["predicted_peak_bytes"] - predicted) < 0.03 * predicted
    # What is advised for an exact reading makes it one.
    size = re.search(r"--budget (\d+MB)", less["exact"]["text"])
    assert size is not None
    assert checked(lcdoc("plan", story, *common, "--budget", size[1]))["exact"] is None


def test_llama_3_8b_at_a_million_tokens_by_hand(lcdoc: Run, checked: Checked) -> None:
    done = lcdoc("plan", *LLAMA, "--tokens", "1M", *ELSEWHERE, "--json", "--mode", "exact")
    assert done.returncode == 4
    plan = checked(done)
    tokens = 1_000_000 + 256 + 512
    assert plan["tokens"] == {"document": 1_000_000, "prompt": 256, "max_new": 512, "capacity": tokens}
    assert plan["model"]["parameters"] == LLAMA_PARAMETERS
    weights_bytes = plan["model"]["weights_bytes"]
    assert (
        0 <= weights_bytes - 2 * LLAMA_PARAMETERS < 1024
    )  # and the few numbers that positions are turned by
    assert plan["device"] == {"name": "cuda", "here": False, "base_bytes": 0, "total_bytes": None}
    assert plan["budget_bytes"] == 24_000_000_000
    exact = plan["ways"][0]
    assert exact["kv_bytes"] == 2 * 32 * 8 * 128 * 2 * tokens
    assert exact["predicted_peak_bytes"] == weights_bytes + exact["kv_bytes"] + exact["workspace_bytes"]
    assert not any(way["fits"] or way["chosen"] for way in plan["ways"]) and plan["chosen"] is None
    assert plan["calibration"] is None and exact["prefill_s"] is None and exact["answer_s"] is None
    least = min(way["predicted_peak_bytes"] for way in plan["ways"])
    assert f"{least / 1e9:.2f} GB at the least" in done.stderr
    assert done.stderr.count("\n") == 1
    # 131.2 GB of keys and values, 16.1 of weights and a little workspace.
    assert "--budget 147.3GB" in plan["exact"]["text"]
    assert any("window is 8,192 tokens" in note for note in plan["notes"])


def test_llama_3_8b_at_a_million_tokens_fits_24_gb_where_a_twentieth_is_kept(
    lcdoc: Run, checked: Checked
) -> None:
    done = lcdoc("plan", *LLAMA, "--tokens", "1M", *ELSEWHERE, "--json")
    assert done.returncode == 0, done.stderr
    plan = checked(done)
    [chosen] = [way for way in plan["ways"] if way["chosen"]]
    assert chosen["name"] == plan["chosen"] == "5% kept"
    assert (chosen["evict"], chosen["keep_tokens"], chosen["kv_dtype"]) == ("question", 50_000, "model")
    # Each of 32 x 8 heads: a key and a value of 128 channels in 16 bits for each token kept, with its position and its
    # score, and for each of the 256 + 512 of question and answer, with its score.
    kept = 32 * 8 * (50_000 * (2 * 128 * 2 + 8) + (256 + 512) * (2 * 128 * 2 + 4))
    # And for each of 256 stretches of the text the sums of dropped keys and values, and their count, in 32 bits.
    assert chosen["kv_bytes"] == kept + 32 * 8 * 256 * (2 * 128 + 2) * 4
    peak_bytes = plan["model"]["weights_bytes"] + chosen["kv_bytes"] + chosen["workspace_bytes"]
    assert chosen["predicted_peak_bytes"] == peak_bytes <= 24_000_000_000


def test_llama_3_8b_at_a_million_tokens_in_100_gb(lcdoc: Run, profile: str, checked: Checked) -> None:
    budget = ("--device", "cuda", "--budget", "100GB")
    done = lcdoc("plan", *LLAMA, "--tokens", "1M", *budget, "--profile", profile, "--json")
    assert done.returncode == 0, done.stderr
    plan = checked(done)
    [chosen] = [way for way in plan["ways"] if way["chosen"]]
    streaming = chosen["num_streaming_heads"]
    assert 64 < streaming < 128
    head, tokens = 2 * 128 * 2, plan["tokens"]["capacity"]
    assert chosen["kv_bytes"] == head * ((256 - streaming) * tokens + streaming * (64 + 256))
    assert chosen["predicted_peak_bytes"] <= 100e9
    # One head fewer does not fit: no more is given up than must be.
    assert chosen["predicted_peak_bytes"] + head * (tokens - 320) > 100e9


def test_in_24_gb_the_heads_that_retrieve_keep_a_part(lcdoc: Run, profile: str, checked: Checked) -> None:
    done = lcdoc("plan", *LLAMA, "--tokens", "1M", *ELSEWHERE, "--profile", profile, "--json")
    assert done.returncode == 0, done.stderr
    [chosen] = [way for way in checked(done)["ways"] if way["chosen"]]
    assert chosen["num_streaming_heads"] == 128
    assert chosen["keep_tokens"] == 80_000  # without a profile all heads keep 50,000
    assert chosen["predicted_peak_bytes"] <= 24e9


def test_many_ways_are_thinned_out_in_the_table(lcdoc: Run, profile: str) -> None:
    done = lcdoc("plan", *LLAMA, "--tokens", "1M", *ELSEWHERE, "--profile", profile)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) < 30
    assert re.search(r"\d{3} more ways in between; --json has them all", done.stdout)
    assert re.search(r"> \d+% kept .* chosen ", done.stdout)
    assert "note: no times: cuda is not on this machine" in done.stdout


@pytest.mark.usefixtures("known_speeds")
def test_a_document_longer_than_the_window(lcdoc: Run, work: Path, parrot: str, checked: Checked) -> None:
    (work / "long.txt").write_text("word " * 70_000, encoding="utf-8")
    words = ("plan", "long.txt", "--model", parrot, "--extend", "none", "--fusion", "off")
    done = lcdoc(*words)
    assert done.returncode == 4
    assert " exact " in done.stdout and ">" not in done.stdout
    assert "window of 350,670 tokens or more (--model)" in done.stdout
    assert done.stderr.splitlines()[-1].startswith("lcdoc: the document has 350,350 tokens")
    pages = re.search(r"--pages (1-\d+)", done.stdout)
    assert pages is not None
    fewer = lcdoc(*words, "--pages", pages[1], "--json")
    assert fewer.returncode == 0 and checked(fewer)["exact"] is None


@pytest.mark.usefixtures("known_speeds")
def test_nothing_fits_and_the_table_is_still_there(lcdoc: Run, story: str, parrot: str) -> None:
    done = lcdoc("plan", story, "--model", parrot, "--budget", "1MB", "--quiet")
    assert done.returncode == 4
    assert " exact " in done.stdout and " int4 KV " in done.stdout and " yes " not in done.stdout
    assert "a smaller --model" in done.stdout
    assert done.stderr.count("\n") == 1 and "at the least" in done.stderr


def test_from_stdin(lcdoc: Run, parrot: str, checked: Checked) -> None:
    done = lcdoc("plan", "-", "--model", parrot, *ELSEWHERE, "--json", stdin="A few words.\n")
    assert done.returncode == 0
    assert checked(done)["tokens"]["document"] > 5


def test_an_installed_model_and_a_length(lcdoc: Run, parrot: str, checked: Checked) -> None:
    done = lcdoc("plan", "--tokens", "10k", "--model", parrot, *ELSEWHERE, "--json")
    plan = checked(done)
    assert (done.returncode, done.stderr) == (0, "")
    assert (plan["model"]["name"], plan["model"]["dtype"]) == ("parrot", "bfloat16")
    assert plan["tokens"]["document"] == 10_000


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ([], 2, "--tokens"),
        (["story.txt", "--tokens", "1k"], 2, "exclude each other"),
        (["story.txt", *LLAMA], 2, "--tokens"),
        ([*LLAMA], 2, "--tokens"),
        ([*LLAMA, "--model", "x", "--tokens", "1k"], 2, "exclude each other"),
        ([*LLAMA, "--tokens", "many"], 2, "'many'"),
        ([*LLAMA, "--tokens", "1k", "--pages", "1"], 2, "--pages"),
        (["--model-config", "gone.json", "--tokens", "1k"], 2, "gone.json"),
        (["--model-config", "bert.json", "--tokens", "1k"], 1, "bert.json"),
        ([*LLAMA, "--tokens", "1k", "--device", "cuda"], 2, "--budget 24GB"),
        (["gone.pdf"], 3, "gone.pdf"),
        (["story.txt"], 1, "lcdoc models pull"),
    ],
    ids=[
        "nothing",
        "file-and-tokens",
        "file-and-config",
        "config-alone",
        "two-models",
        "no-number",
        "pages-of-tokens",
        "missing-config",
        "no-decoder",
        "no-budget-elsewhere",
        "missing-file",
        "no-model",
    ],
)
def test_what_cannot_be_planned(
    lcdoc: Run, work: Path, story: str, words: list[str], code: int, said: str
) -> None:
    (work / "bert.json").write_text('{"model_type": "bert"}', encoding="utf-8")
    done = lcdoc("plan", *words, "--quiet")
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("4096", 4096),
        ("128k", 128_000),
        ("128K", 128_000),
        ("1M", 1_000_000),
        ("1m", 1_000_000),
        ("1.1M", 1_100_000),
        ("1Ki", 1024),
        ("1Mi", 1 << 20),
        ("0.5ki", 512),
        ("1g", 10**9),
    ],
)
def test_lengths(text: str, tokens: int) -> None:
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize(
    "text", ["", "0", "-5", "1.5", "0.0001k", "1T", "1i", "k", "1 000", "1e6", "nan", "9" * 5000, "2000G"]
)
def test_lengths_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--tokens must be"):
        parse_tokens(text)


def test_a_narrow_terminal_gets_paragraphs(terminal: Callable[..., Any]) -> None:
    code, screen = terminal("plan", *LLAMA, "--tokens", "8k", *ELSEWHERE, columns=40).end()
    assert code == 0
    assert "> exact\r\n" in screen and "    peak " in screen and "    gives up      nothing\r\n" in screen
    assert "…" not in screen


@pytest.mark.parametrize("how", ["flag", "variable"])
def test_no_color(terminal: Callable[..., Any], how: str) -> None:
    words = ["plan", *LLAMA, "--tokens", "8k", *ELSEWHERE]
    env = {"NO_COLOR": "1"} if how == "variable" else {}
    flags = ["--no-color"] if how == "flag" else []
    code, screen = terminal(*words, *flags, columns=160, **env).end()
    assert code == 0
    assert "read + answer" in screen and "> exact" in screen
    assert not re.search(r"\x1b\[[\d;]*3\d(;\d+)*m", screen)


def test_help(lcdoc: Run) -> None:
    done = lcdoc("plan", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: lcdoc plan [OPTIONS] [FILE]...")
    assert "128Ki" in done.stdout
