"""`lcdoc extend` through the real entry point."""

import json
import signal
import subprocess
import sys

import pytest
import torch
import yaml

from lcdoc.calibrate.exam import Exam, Score
from lcdoc.config import ReadSettings
from lcdoc.engine.attention import register
from lcdoc.engine.extension import extend_positions
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.profiles import load_profile
from lcdoc.models import load_config, load_model, resolve
from lcdoc.tasks.extending import choose_extension
from lcdoc.tasks.own_profile import user_profile_path

WINDOW, LENGTH, HEAD_DIM, THETA = 512, 1024, 8, 10_000.0
SMALL = (
    *("--length", "1024", "--text-tokens", "960", "--held-out-tokens", "960", "--needles", "2"),
    *("--evaluations", "9"),
)
NTK = [4 ** (2 * pair / (HEAD_DIM - 2)) for pair in range(HEAD_DIM // 2)]
GOAL = [1.0, 1.2, 2.0, 3.0]


@pytest.fixture
def exams(monkeypatch):
    """Scores by how far the factors are from a goal: a search with a known end. Returns what other methods score on
    the other book, to be changed."""
    others = {"ntk": 5.0, "self-extend": 5.0}

    def take(self, model, extension, chunk_tokens, on_chunk=None):
        if extension.method in others:
            return Score(others[extension.method], 1.0)
        factors = extension.rope["long_factor"]
        return Score(sum(abs(one - goal) for one, goal in zip(factors, GOAL, strict=True)), 1.0)

    monkeypatch.setattr(Exam, "take", take)
    return others


def measured(path):
    """A result without what differs from run to run."""
    return {name: value for name, value in json.loads(path.read_text()).items() if name != "date"}


def test_what_is_found_is_what_longrope_reads_with(call_lcdoc, exams, tiny_beyond, tmp_path):
    done = call_lcdoc(
        "extend", tiny_beyond, *SMALL, "--evaluations", "40", "-o", "own.yaml",
        "--json", "found.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    rope = load_profile(str(tmp_path / "own.yaml")).rope
    scores = [row["needle_nll"] + row["tail_nll"] for row in found["evaluations"]]
    best = found["evaluations"][scores.index(min(scores))]
    for name in ("factors", "attention_factor", "start_tokens"):
        assert rope[name] == found["best"][name] == best[name]
    assert found["evaluations"][1]["factors"] == pytest.approx(NTK, rel=1e-5)
    assert rope["seeds"].keys() == {"pi", "ntk", "yarn"}
    assert rope["seeds"]["ntk"] == pytest.approx(scores[1], abs=1e-3)
    assert rope["best_scores"] == found["best_scores"] and len(rope["best_scores"]) == 40
    assert rope["best_scores"][-1] == rope["score"]["score"] < min(rope["seeds"].values())
    assert rope["range_tokens"] == [768, LENGTH] and rope["window_tokens"] == WINDOW
    assert found["beats_ntk"] and rope["held_out"].keys() == {"longrope", "ntk"}
    assert "in 9" in rope["data"] and "frankenstein, spread over 1,024" in rope["data"]
    assert "20 needles" in rope["held_out_data"] and "moby-dick" in rope["held_out_data"]
    assert {"date", "versions", "model_sha256", "data_sha256", "seed", "dtype"} <= rope.keys()
    # As a reading takes them, by hand.
    files = resolve(str(tiny_beyond))
    config = load_config(files)
    settings = ReadSettings(extend="longrope", profile=str(tmp_path / "own.yaml"))
    shape = ModelShape.from_config(config, 0, torch.float32)
    extension = choose_extension(config, settings, LENGTH, shape)
    model = load_model(files, device="cpu", dtype="float32", attn_implementation=register())
    extend_positions(model, extension)
    rotary = model.get_decoder().rotary_emb
    wanted = [THETA ** (-2 * pair / HEAD_DIM) / rope["factors"][pair] for pair in range(HEAD_DIM // 2)]
    assert rotary.inv_freq.tolist() == pytest.approx(wanted, rel=1e-5)
    assert rotary.attention_scaling == rope["attention_factor"]
    assert extension.start_tokens == rope["start_tokens"]
    shown = call_lcdoc("profiles", "show", "own.yaml")
    assert shown.returncode == 0 and "\n  held_out        longrope needle_nll" in shown.stdout


def test_reading_takes_the_factors_by_itself_where_they_were_better(call_lcdoc, exams, tiny_beyond, tmp_path):
    whole = [*SMALL[:4], *SMALL[6:]]
    done = call_lcdoc("extend", tiny_beyond, *whole)
    assert done.returncode == 0, done.stderr
    path = user_profile_path(resolve(str(tiny_beyond)))
    assert f"written to {path}; take it with --extend longrope" in done.stderr
    assert load_profile(str(path)).rope["held_out"].keys() == {"longrope", "ntk", "self-extend"}
    assert "held out, self-extend: needle NLL 5.0000" in done.stderr
    (tmp_path / "ship.txt").write_text("The ice lay all around the ship. " * 65)
    words = ("ask", "ship.txt", "What lay?", "--model", tiny_beyond, "--json", "--max-new-tokens", "64")
    answer = json.loads(call_lcdoc(*words).stdout)
    assert 768 < answer["plan"]["capacity_tokens"] <= LENGTH
    assert answer["plan"]["extend"] == answer["receipt"]["positions"] == "longrope"
    told = json.loads(call_lcdoc(*words, "--profile", "none").stdout)
    assert told["plan"]["mode"] == "parts" and told["plan"]["extend"] is None


def test_where_ntk_is_better_nothing_is_written_and_it_says_so(call_lcdoc, exams, tiny_beyond, tmp_path):
    exams["ntk"] = 0.0
    done = call_lcdoc("extend", tiny_beyond, *SMALL, "-o", "own.yaml", "--json", "found.json")
    assert done.returncode == 0, done.stderr
    assert (
        "nothing found that beats NTK on the held-out text; NTK stays, and no profile was written"
        in done.stderr
    )
    assert not (tmp_path / "own.yaml").exists() and not measured(tmp_path / "found.json")["beats_ntk"]


def test_heads_that_are_known_stay_known(call_lcdoc, exams, tiny_beyond):
    files = resolve(str(tiny_beyond))
    path = user_profile_path(files)
    path.parent.mkdir(parents=True, exist_ok=True)
    own = {"model": files.name, "gates": [[0.0, 1.0], [0.25, 1.0]], "sink_size": 4, "recent_size": 16}
    path.write_text(yaml.safe_dump(own | {"source": "by hand", "measured": {"steps": 3}}))
    assert call_lcdoc("extend", tiny_beyond, *SMALL).returncode == 0
    profile = load_profile(str(path))
    assert profile.gates == ((0.0, 1.0), (0.25, 1.0)) and profile.measured == {"steps": 3}
    assert len(profile.rope["factors"]) == 4


def test_stopped_it_ends_with_the_same_factors(cli_env, call_lcdoc, tiny_beyond, tmp_path):
    words = ["extend", str(tiny_beyond), *SMALL, "-o", "own.yaml"]
    command = [sys.executable, "-m", "lcdoc", *words, "--json", "stopped.json"]
    with subprocess.Popen(command, env=cli_env, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("4 of 9"):
                process.send_signal(signal.SIGINT)
    assert process.returncode == 130 and "goes on from the last evaluation" in said[-1], said
    assert len(json.loads((tmp_path / "own.yaml.extend.partial").read_text())["candidates"]) >= 4
    again = call_lcdoc(*words, "--json", "stopped.json", "--plot", "curve.png")
    assert again.returncode == 0, again.stderr
    assert "4 of 9" not in again.stderr and "9 of 9: score" in again.stderr and "0:00 left" in again.stderr
    assert not (tmp_path / "own.yaml.extend.partial").exists()
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "own.yaml").unlink(missing_ok=True)
    whole = call_lcdoc(*words, "--json", "whole.json")
    assert whole.returncode == 0, whole.stderr
    assert measured(tmp_path / "stopped.json") == measured(tmp_path / "whole.json")
    assert (tmp_path / "own.yaml").exists() == measured(tmp_path / "whole.json")["beats_ntk"]
    assert whole.stdout == again.stdout and "evaluations" in whole.stdout


def test_a_search_of_other_settings_is_not_gone_on_with(call_lcdoc, exams, tiny_beyond, tmp_path):
    partial = tmp_path / "own.yaml.extend.partial"
    partial.write_text('{"candidates": [], "held_out": {}, "settings": {"length_tokens": 900}}')
    done = call_lcdoc("extend", tiny_beyond, *SMALL, "-o", "own.yaml")
    assert done.returncode == 2 and "add --restart to begin anew" in done.stderr
    partial.write_text('{"settings": {}, "held_out": {}, "candidates": [{"factors": [2.0, 1.0]}]}')
    done = call_lcdoc("extend", tiny_beyond, *SMALL, "-o", "own.yaml")
    assert done.returncode == 2 and "own.yaml.extend.partial: not a search that can be read" in done.stderr
    done = call_lcdoc("extend", tiny_beyond, *SMALL, "-o", "own.yaml", "--restart")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        (("--length", "512"), 2, "--length 512 is within the model's window of 512 tokens"),
        (("--length", "many"), 2, "--length must be a number such as 4096"),
        (("--evaluations", "3"), 2, "evaluations must be above 3, which the seeds pi, ntk, yarn take"),
        (("--needles", "21"), 2, "needles must be from 1 to 20, not 21"),
        (("--tail-weight", "-1"), 2, "the tail's weight must be 0 or more, not -1"),
        (("--text-tokens", "2000"), 2, "longer than the 1,024 that are searched for"),
        (("--text-tokens", "400"), 2, "400 tokens are too few for the text; it takes"),
        (("--haystack", "nowhere.txt"), 3, "nowhere.txt"),
        (("--plot", "curve.jpg"), 2, "--plot draws PNG"),
    ],
)
def test_what_can_not_be_searched_is_said_in_one_line(call_lcdoc, tiny_beyond, arguments, code, message):
    done = call_lcdoc("extend", tiny_beyond, *SMALL, *arguments)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert message in done.stderr and done.stderr.count("lcdoc:") == 1


@pytest.mark.parametrize(
    "changed,code,message",
    [
        ({"rope_parameters": {"rope_type": "linear", "rope_theta": 1e4, "factor": 2.0}}, 2, "of type linear"),
        (
            {"model_type": "mistral", "architectures": ["MistralForCausalLM"], "sliding_window": 64},
            1,
            "window of their own",
        ),
    ],
    ids=["scaled already", "windows"],
)
def test_models_that_can_not_be_extended_are_refused(
    call_lcdoc, tiny_beyond, tmp_path, changed, code, message
):
    folder = tmp_path / "other"
    folder.mkdir()
    for file in tiny_beyond.iterdir():
        (folder / file.name).symlink_to(file)
    config = json.loads((tiny_beyond / "config.json").read_text())
    (folder / "config.json").unlink()
    (folder / "config.json").write_text(json.dumps(config | changed))
    done = call_lcdoc("extend", folder, *SMALL)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr and done.stderr.count("lcdoc:") == 1
