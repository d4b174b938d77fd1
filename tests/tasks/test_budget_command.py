"""`--budget` and `--kv-dtype` through the real entry point."""

import json

import pytest

pytestmark = pytest.mark.model

# Chunks as small as they get, so that the plan has nothing left to give up but bits.
SHORT = ("--max-new-tokens", "24", "--chunk-tokens", "128")
QUESTION = "What is the special magic number for copper?"


@pytest.fixture(scope="module")
def note(tmp_path_factory):
    path = tmp_path_factory.mktemp("docs") / "note.txt"
    filler = "The ice lay all around the ship, and the men waited for the wind to change. " * 40
    path.write_text(filler + "One of the special magic numbers for copper is: 3254257. " + filler)
    return str(path)


def test_the_peak_stays_under_a_budget_that_just_fits_and_the_plan_says_how(run_lcdoc, note):
    tight = run_lcdoc("ask", note, QUESTION, "--json", *SHORT, "--budget", "100MB")
    assert tight.returncode == 4 and tight.stdout == ""
    assert "at the least" in tight.stderr and "the budget is 0.10 GB" in tight.stderr
    free = run_lcdoc("ask", note, QUESTION, "--json", *SHORT)
    exact = json.loads(free.stdout)
    assert exact["receipt"]["exact"] and exact["plan"]["rung"] == "exact"
    assert "3254257" in exact["answer"]
    memory = exact["memory"]
    assert memory["peak_bytes"] <= memory["budget_bytes"]
    assert abs(memory["predicted_peak_bytes"] - memory["peak_bytes"]) < 0.1 * memory["peak_bytes"]
    # Too little for an exact reading, enough with fewer bits.
    less = memory["predicted_peak_bytes"] - round(0.6 * memory["kv_bytes"])
    rounded = run_lcdoc("ask", note, QUESTION, "--json", *SHORT, "--budget", f"{less}B")
    assert rounded.returncode == 0, rounded.stderr
    result = json.loads(rounded.stdout)
    assert result["plan"]["loss"] and not result["receipt"]["exact"]
    assert result["plan"]["loss"] in result["receipt"]["notes"] and result["plan"]["loss"] in rounded.stderr
    assert result["memory"]["peak_bytes"] <= result["memory"]["budget_bytes"] == less


@pytest.mark.parametrize("kv_dtype,share", [("int8", 0.4), ("int4", 0.3)])
def test_fewer_bits_are_chosen_said_and_counted(run_lcdoc, note, kv_dtype, share):
    result = run_lcdoc("ask", note, QUESTION, "--json", *SHORT, "--kv-dtype", kv_dtype)
    answer = json.loads(result.stdout)
    assert "3254257" in answer["answer"]
    assert answer["receipt"]["kv_dtype"] == kv_dtype and not answer["receipt"]["exact"]
    itemsize = {"float32": 4, "bfloat16": 2}[answer["model"]["dtype"]]
    full_bytes = answer["receipt"]["tokens_total"] * 90 * 64 * 2 * itemsize
    assert answer["memory"]["kv_bytes"] < share * full_bytes * (4 / itemsize)


@pytest.mark.parametrize("budget", ["0GB", "150%", "lots", "24", "-1GB", "5iB"])
def test_a_budget_that_is_none_is_refused_with_what_is_allowed(run_lcdoc, note, budget):
    result = run_lcdoc("ask", note, QUESTION, "--budget", budget)
    assert result.returncode == 2
    assert "24GB" in result.stderr and result.stderr.count("\n") == 1


def test_exact_mode_does_not_round(run_lcdoc, note):
    result = run_lcdoc("ask", note, QUESTION, "--mode", "exact", "--kv-dtype", "int8")
    assert result.returncode == 2 and "--kv-dtype int8" in result.stderr
