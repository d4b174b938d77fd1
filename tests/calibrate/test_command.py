"""`lcdoc calibrate` through the real entry point."""

import signal
import subprocess
import sys

import pytest
import yaml

from lcdoc.calibrate.passkeys import ORDINALS, Recipe
from lcdoc.engine.profiles import load_profile
from lcdoc.evaluate.haystack import Haystack
from lcdoc.models import load_tokenizer, resolve

SMALL = ("--context-tokens", "1400", "--steps", "6", "--sink-size", "4", "--recent-size", "32")
TIMES = ("date",)


def facts(path):
    """A profile's content, without what differs from run to run."""
    content = yaml.safe_load(path.read_text())
    for name in TIMES:
        content["measured"].pop(name)
    return content


def stop_at(step, how, command, cli_env, tmp_path):
    """Runs the command and sends it a signal once a step is done. Returns its exit code and what it said."""
    with subprocess.Popen(command, env=cli_env, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith(f"step {step} of 6"):
                process.send_signal(how)
    return process.returncode, "".join(said)


def test_training_writes_a_profile_that_reading_uses(run_lcdoc, tiny_model, tmp_path):
    result = run_lcdoc("calibrate", tiny_model, *SMALL, "-o", "tiny.yaml", "--png", "tiny.png")
    assert result.returncode == 0, result.stderr
    profile = load_profile(str(tmp_path / "tiny.yaml"))
    assert (profile.sink_size, profile.recent_size, profile.prefill_recent_size) == (4, 32, 128)
    profile.check_shape(3, 2)
    gates = [gate for row in profile.gates for gate in row]
    assert 0 <= min(gates) < max(gates) <= 1
    assert profile.landed is not None
    assert sorted(rank for row in profile.landed for rank in row) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    measured = facts(tmp_path / "tiny.yaml")["measured"]
    assert len(measured["loss"]) == measured["steps"] == 6
    assert len(measured["model_sha256"]) == 64
    assert {"lcdoc", "torch", "transformers"} <= measured["versions"].keys()
    assert "step 6 of 6: loss" in result.stderr
    assert "% of heads below 0.5" in result.stderr
    assert "layer 2" in result.stdout
    assert (tmp_path / "tiny.png").read_bytes().startswith(b"\x89PNG")
    (tmp_path / "text.txt").write_text("The keeper of the lighthouse slept. " * 60)
    result = run_lcdoc(
        "ask", "text.txt", "Who slept?", "--model", tiny_model, "--mode", "duo", "--profile", "tiny.yaml",
        "--max-new-tokens", "2", "--json",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert '"mode": "duo"' in result.stdout


def test_stopped_twice_it_ends_with_the_same_gates(cli_env, run_lcdoc, tiny_model, tmp_path):
    command = [sys.executable, "-m", "lcdoc", "calibrate", str(tiny_model), *SMALL, "-o", "stopped.yaml"]
    code, _ = stop_at(2, signal.SIGKILL, command, cli_env, tmp_path)
    assert code == -signal.SIGKILL
    assert (tmp_path / "stopped.yaml.partial").exists()
    other = run_lcdoc(*command[3:], "--seed", "1")
    assert other.returncode == 2
    assert "--restart" in other.stderr
    code, said = stop_at(4, signal.SIGINT, command, cli_env, tmp_path)
    assert code == 130, said
    assert "goes on from the last step" in said
    assert "step 1 of 6" not in said
    again = run_lcdoc(*command[3:])
    assert again.returncode == 0, again.stderr
    assert "step 3 of 6" not in again.stderr
    assert not (tmp_path / "stopped.yaml.partial").exists()
    whole = run_lcdoc("calibrate", tiny_model, *SMALL, "-o", "whole.yaml")
    assert whole.returncode == 0, whole.stderr
    assert facts(tmp_path / "stopped.yaml") == facts(tmp_path / "whole.yaml")


def test_a_damaged_checkpoint_is_named(call_lcdoc, tiny_model, tmp_path):
    (tmp_path / "p.yaml.partial").write_bytes(b"no safetensors")
    result = call_lcdoc("calibrate", tiny_model, *SMALL, "-o", "p.yaml")
    assert result.returncode == 2
    assert "p.yaml.partial: not a checkpoint that can be read" in result.stderr


@pytest.mark.parametrize(
    "arguments,code,message",
    [
        (("--context-tokens", "100"), 2, "has no room"),
        (("--context-tokens", "8000"), 4, "fewer --context-tokens"),
        (("--haystack", "nowhere.txt"), 3, "nowhere.txt"),
        (("--from-tsv", "a.tsv", "--quick"), 2, "--from-tsv trains nothing"),
        (("--steps", "1"), 2, "steps"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(call_lcdoc, tiny_model, arguments, code, message):
    result = call_lcdoc("calibrate", tiny_model, *arguments)
    assert result.returncode == code, result.stderr
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_gates_of_a_tsv_become_a_profile_without_weights(call_lcdoc, tmp_path):
    (tmp_path / "gates.tsv").write_text("0.5\t1.0\n0.0\t0.25\n")
    (tmp_path / "gates.json").write_text('{"sink_size": 64, "recent_size": 256}')
    result = call_lcdoc("calibrate", "some-model", "--from-tsv", "gates.tsv")
    assert result.returncode == 0, result.stderr
    profile = load_profile(str(tmp_path / "some-model.yaml"))
    assert profile.gates == ((0.5, 1.0), (0.0, 0.25))
    assert profile.model == "some-model"


def test_examples_hold_what_they_ask_for(tiny_model):
    tokenizer = load_tokenizer(resolve(str(tiny_model)))
    haystack = Haystack.open("frankenstein", tokenizer)
    recipe = Recipe(context_tokens=1024, seed=5)
    example, again, other = recipe.draw(haystack, 3), recipe.draw(haystack, 3), recipe.draw(haystack, 4)
    assert example == again
    assert example.token_ids != other.token_ids
    assert len(example.recalls) == 10
    text = tokenizer.decode(example.token_ids)
    for recall in example.recalls:
        ids = example.token_ids
        planted = tokenizer.decode(ids[recall.planted.start : recall.planted.stop])
        words = planted.split(": ")[1]
        answered = tokenizer.decode(ids[recall.answered.start + 1 : recall.answered.stop + 1])
        assert answered.rstrip(".").startswith(words.split(".")[0][:30])
        asked = tokenizer.decode(ids[recall.asked.start : recall.answered.start])
        [ordinal] = [name for name in ORDINALS if f"the {name} passkey" in asked]
        assert f"The {ordinal} passkey of the vault is: {words.split('.')[0][:30]}" in text
    starts = [recall.planted.start for recall in example.recalls]
    assert starts != sorted(starts)


@pytest.mark.model
def test_the_quick_way_finds_the_default_models_retrieval_heads(run_lcdoc, tmp_path):
    result = run_lcdoc("calibrate", "--quick", "--context-tokens", "800", "-o", "quick.yaml")
    assert result.returncode == 0, result.stderr
    order = load_profile(str(tmp_path / "quick.yaml")).order
    assert set(order[-2:]) == {(17, 1), (18, 2)}
