"""Documents longer than the model's window: how they are read beyond it, and what is said of it."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoConfig, AutoTokenizer

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents import load_document
from lcdoc.engine.model_shape import ModelShape
from lcdoc.errors import DoesNotFitError, ModelError, UsageError
from lcdoc.evaluate.perplexity import PerplexityTest, Stretches
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.plan import make_plan
from lcdoc.tasks.room import Need

CONFIG = Path(__file__).parents[1] / "data" / "configs" / "small.json"
WINDOW = 8192
SMALL = json.loads(CONFIG.read_text(encoding="utf-8")) | {"max_position_embeddings": WINDOW}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 5e5,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 1024,
}
GATES = [[0.0, 1.0], [0.2, 1.0]]


def planned(windows, kind="llama", options=(), keep_turns=False, **settings):
    """The plan for a document that, with 100 tokens of a question and 412 of an answer, is so many windows long."""
    config = AutoConfig.for_model(kind, **SMALL | dict(options))
    shape = ModelShape.from_config(config, 0, torch.float32)
    need = Need(int(windows * WINDOW) - 512, 100, 412, keep_turns)
    return make_plan(config, ReadSettings(**settings), need, shape, base_bytes=0, budget_bytes=1 << 40)


@pytest.mark.parametrize(
    "windows,method,factor",
    [
        (1.25, "ntk", 2.5),
        (1.5, "ntk", 3),
        (1.75, "self-extend", 4),
        (2.1, "self-extend", 5),
        (4, "self-extend", 8),
    ],
)
def test_the_length_decides_where_nobody_else_does(windows, method, factor):
    plan = planned(windows)
    assert (plan.summary.extend, plan.summary.extend_factor) == (method, pytest.approx(factor, rel=1e-3))
    assert plan.summary.extended_times == pytest.approx(windows, rel=1e-3)
    assert plan.room.capacity_tokens == int(windows * WINDOW) and plan.room.max_new_tokens == 412
    assert plan.rung.name == "beyond the window" and plan.summary.loss in plan.notes
    assert planned(windows, extend="auto").summary == plan.summary


@pytest.mark.parametrize("extend", [None, "none", "auto", "ntk", "self-extend", "lm-infinite", "longrope"])
@pytest.mark.parametrize("windows", [0.5, 1.0, 1.04])
def test_within_the_window_nothing_is_extended(extend, windows):
    plan = planned(windows, extend=extend)
    assert plan.summary == planned(windows).summary
    assert plan.summary.extend is None and plan.summary.loss == "" and plan.room.extension is None


def test_beyond_four_windows_lcdoc_extends_nothing_by_itself():
    with pytest.raises(
        DoesNotFitError, match="--extend self-extend reads it all at a loss, --keep 4096 reads"
    ):
        planned(4.1)
    plan = planned(4.1, extend="self-extend")
    assert plan.summary.extend_factor == 9 and "answers are often wrong" in plan.summary.loss


@pytest.mark.parametrize(
    "settings", [{"extend": "none"}, {"mode": "exact"}, {"mode": "exact", "extend": "auto"}]
)
def test_without_extending_a_long_document_is_refused(settings):
    with pytest.raises(DoesNotFitError, match=r"window is 8,192 tokens; --keep 4096 reads it all"):
        planned(2, **settings)


def test_a_rotary_embedding_with_a_factor_of_its_own_is_grouped_at_any_length():
    assert planned(1.25, options={"rope_parameters": LLAMA3}).summary.extend == "self-extend"


@pytest.mark.parametrize(
    "kind,options", [("mistral", {"sliding_window": 1024}), ("gemma2", {"head_dim": 16})]
)
def test_layers_with_a_window_of_their_own_are_not_extended(kind, options):
    with pytest.raises(DoesNotFitError, match="window is 8,192 tokens; --keep"):
        planned(2, kind, options)
    with pytest.raises(ModelError, match="have a window of their own; choose pages"):
        planned(2, kind, options, extend="self-extend")


@pytest.mark.parametrize(
    "settings,words",
    [
        ({"extend": "self-extend", "evict": "snapkv"}, "can't go with --evict or --keep"),
        ({"extend": "lm-infinite", "keep": "25%"}, "can't go with --evict or --keep"),
        ({"extend": "self-extend", "mode": "stream"}, "take --extend lm-infinite"),
        ({"extend": "lm-infinite", "mode": "duo"}, "take --mode stream, not duo"),
        ({"extend": "ntk", "mode": "exact"}, "--mode exact keeps the model's own positions"),
        ({"extend": "self-extend", "kv_dtype": "int8"}, "can't go with --kv-dtype int8: take --extend ntk"),
        ({"kv_dtype": "int4"}, "can't go with --kv-dtype int4"),
        ({"extend": "longrope"}, "factors that were searched for this model"),
        ({"mode": "stream", "recent_size": 9000}, "more than the model's window of 8,192"),
    ],
)
def test_what_can_not_go_together_is_refused(settings, words):
    with pytest.raises(UsageError, match=words):
        planned(2, **settings)


def test_an_unknown_way_is_refused():
    with pytest.raises(UsageError, match="extend must be one of none, auto, pi, ntk, yarn"):
        ReadSettings(extend="rope")


def test_closing_gaps_is_what_it_was_and_a_greater_base_goes_with_eviction():
    closed = planned(2, keep="2000", evict="snapkv")
    assert closed.room.extension is None and closed.rung.eviction.close_gaps
    scaled = planned(2, keep="2000", evict="snapkv", extend="ntk")
    assert scaled.summary.extend == "ntk" and not scaled.rung.eviction.close_gaps


def test_a_chat_has_room_for_its_turns():
    assert planned(2, keep_turns=True).room.capacity_tokens == 2 * WINDOW - 512 + WINDOW // 4


def test_streaming_heads_alone_see_no_farther_than_the_window():
    plan = planned(20, mode="stream")
    assert (plan.summary.extend, plan.summary.mode) == ("lm-infinite", "stream")
    assert (plan.summary.sink_size, plan.summary.recent_size) == (64, 256)
    wide = planned(20, extend="lm-infinite").summary
    assert (wide.mode, wide.sink_size, wide.recent_size) == ("stream", 64, WINDOW - 64)


def test_turned_keys_are_never_moved_and_grouped_ones_never_rounded():
    plan = planned(3, chunk_tokens=512)
    assert all(rung.kv_dtype == "model" and rung.eviction is None for rung in plan.lesser)
    down = planned(3, chunk_tokens=512).step_down(1000)
    assert down.rung.chunk_tokens == 256 and down.room.extension == plan.room.extension


def test_longrope_takes_its_factors_from_the_profile(tmp_path):
    path = tmp_path / "own.yaml"
    profile = {"model": "own", "gates": GATES, "sink_size": 4, "recent_size": 16, "source": "made up"}
    path.write_text(yaml.safe_dump(profile | {"rope": {"factors": [1.0 + pair for pair in range(8)]}}))
    plan = planned(2, extend="longrope", profile=str(path))
    assert plan.room.extension.rope["long_factor"] == plan.room.extension.rope["short_factor"]
    assert plan.summary.extend == "longrope" and plan.summary.extend_factor == pytest.approx(2)
    path.write_text(yaml.safe_dump(profile))
    with pytest.raises(UsageError, match="there are none; take --extend self-extend or ntk"):
        planned(2, extend="longrope", profile=str(path))


def score_of(**scores):
    return {method.replace("_", "-"): {"score": score} for method, score in scores.items()}


@pytest.mark.parametrize(
    "windows,held_out,method",
    [
        (1.5, score_of(longrope=3.9, ntk=4.0), "longrope"),
        (1.25, score_of(longrope=3.9, ntk=4.0), "longrope"),
        (1.5, score_of(longrope=4.1, ntk=4.0), "ntk"),
        (1.1, score_of(longrope=3.9, ntk=4.0), "ntk"),  # shorter than what was searched for
        (1.75, score_of(longrope=3.9, ntk=4.0, self_extend=5.0), "self-extend"),  # longer
        (1.55, score_of(longrope=3.9, ntk=4.0, self_extend=5.0), "longrope"),
        (1.55, score_of(longrope=3.9, ntk=4.0, self_extend=3.0), "self-extend"),
        (1.55, score_of(longrope=3.9, ntk=4.0), "self-extend"),  # never compared
        (1.5, None, "ntk"),
    ],
)
def test_searched_factors_are_taken_where_they_were_found_to_be_better(tmp_path, windows, held_out, method):
    path = tmp_path / "own.yaml"
    profile = {"model": "own", "gates": GATES, "sink_size": 4, "recent_size": 16, "source": "made up"}
    rope = {"factors": [1.0 + pair for pair in range(8)], "start_tokens": 4}
    if held_out is not None:
        rope |= {"range_tokens": [int(1.2 * WINDOW), int(1.6 * WINDOW)], "held_out": held_out}
    path.write_text(yaml.safe_dump(profile | {"rope": rope}))
    plan = planned(windows, profile=str(path))
    assert plan.summary.extend == method
    assert plan.room.extension.start_tokens == (4 if method == "longrope" else 0)


def test_a_damaged_record_of_a_search_is_named(tmp_path):
    path = tmp_path / "own.yaml"
    profile = {"model": "own", "gates": GATES, "sink_size": 4, "recent_size": 16, "source": "made up"}
    path.write_text(yaml.safe_dump(profile | {"rope": {"range_tokens": 5, "held_out": {}}}))
    with pytest.raises(UsageError, match="not as `lcdoc extend` writes them; run it again"):
        planned(1.25, profile=str(path))


def test_factors_without_gates_say_nothing_of_heads(tmp_path):
    path = tmp_path / "own.yaml"
    profile = {"model": "own", "gates": [], "sink_size": 0, "recent_size": 0, "source": "made up"}
    path.write_text(yaml.safe_dump(profile | {"rope": {"factors": [1.0 + pair for pair in range(8)]}}))
    assert planned(2, extend="longrope", profile=str(path)).summary.extend == "longrope"
    with pytest.raises(UsageError, match="--mode duo needs a head profile"):
        planned(0.5, mode="duo", profile=str(path))


# Through the entry point, with a window of 512 tokens.


@pytest.fixture(scope="module")
def tiny(write_tiny_model):
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=512, spread=0.2)


@pytest.fixture(scope="module")
def document(tmp_path_factory, tiny):
    """Writes a document of about so many tokens, and returns its path."""
    sentence = "The ice lay all around the ship, and the men waited for the wind. "
    each = len(AutoTokenizer.from_pretrained(tiny)(sentence).input_ids)

    def write(tokens):
        path = tmp_path_factory.mktemp("docs") / "ship.txt"
        path.write_text(sentence * (tokens // each))
        return path

    return write


@pytest.fixture
def ask(call_lcdoc, json_schema, tiny):
    def run(path, *options):
        done = call_lcdoc(
            *("ask", path, "What lay around the ship?", "--model", tiny, "--json"),
            *("--max-new-tokens", "64", "--chunk-tokens", "100", *options),
        )
        assert done.returncode == 0, done.stderr
        answer = json.loads(done.stdout)
        json_schema("answer").validate(answer)
        return answer, done.stderr

    return run


@pytest.mark.parametrize(
    "tokens,options,method",
    [
        (550, (), "ntk"),
        (1200, ("--extend", "auto"), "self-extend"),
        (550, ("--extend", "self-extend"), "self-extend"),
        (1200, ("--extend", "yarn"), "yarn"),
        (1200, ("--extend", "pi", "--kv-dtype", "int8"), "pi"),
        (1200, ("--extend", "lm-infinite"), "lm-infinite"),
        (3000, ("--mode", "stream", "--sink-size", "4", "--recent-size", "100"), "lm-infinite"),
        (3000, ("--extend", "self-extend"), "self-extend"),
    ],
)
def test_a_document_longer_than_the_window_is_read_whole(ask, document, tokens, options, method):
    answer, told = ask(document(tokens), *options)
    plan, receipt = answer["plan"], answer["receipt"]
    assert receipt["tokens_total"] > 450 and receipt["tokens_read"] == receipt["tokens_total"]
    assert not receipt["exact"] and receipt["positions"] == plan["extend"] == method
    assert receipt["extended_times"] == plan["extended_times"] == plan["capacity_tokens"] / 512 > 1
    times = f"to {plan['extended_times']:.1f} times the model's window by"
    assert any(times in note for note in receipt["notes"]) and times in plan["loss"]
    [plan_line] = [line for line in told.splitlines() if line.startswith("plan: ")]
    assert times in plan_line


def test_within_the_window_the_reading_is_exact_whatever_the_way(ask, document):
    path = document(300)
    answers = [ask(path, *options)[0] for options in ((), ("--extend", "none"), ("--extend", "self-extend"))]
    for answer in answers:
        assert answer["receipt"]["exact"] and answer["receipt"]["positions"] == "native"
        assert answer["plan"]["extend"] is None and answer["receipt"]["extended_times"] == 1
        assert answer["answer"] == answers[0]["answer"]


@pytest.mark.parametrize(
    "tokens,options,code,words",
    [
        (
            1200,
            ("--extend", "none", "--fusion", "off"),
            4,
            "the model's window is 512 tokens; --fusion auto reads it in parts, --keep 256 reads it all",
        ),
        (3000, ("--fusion", "off"), 4, "--extend self-extend reads it all at a loss, --keep 256"),
        (1200, ("--extend", "longrope"), 2, "--extend longrope needs factors"),
        (1200, ("--extend", "self-extend", "--mode", "stream"), 2, "take --extend lm-infinite"),
        (1200, ("--extend", "rope"), 2, "extend must be one of none, auto, pi"),
    ],
)
def test_what_is_refused_is_refused_in_one_line_before_loading(
    call_lcdoc, monkeypatch, tiny, document, tokens, options, code, words
):
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    done = call_lcdoc("ask", document(tokens), "What?", "--model", tiny, *options)
    assert (done.returncode, done.stdout) == (code, "")
    assert words in done.stderr and done.stderr.count("lcdoc:") == 1


# Elsewhere, so that the speed of this machine need not be measured.
ELSEWHERE = ("--device", "cuda", "--budget", "1GB", "--max-new-tokens", "64")


def test_the_plan_shows_method_and_factor(call_lcdoc, json_schema, tiny, document):
    path = document(1200)
    done = call_lcdoc("plan", path, "--model", tiny, *ELSEWHERE, "--extend", "auto", "--json")
    plan = json.loads(done.stdout)
    json_schema("plan").validate(plan)
    times = plan["tokens"]["capacity"] / 512
    assert plan["extension"] == {"method": "self-extend", "factor": -(-2 * times // 1), "times": times}
    assert plan["chosen"] == "beyond the window" and plan["ways"][0]["fits"]
    assert plan["exact"]["window_tokens"] > 512
    text = call_lcdoc("plan", path, "--model", tiny, *ELSEWHERE, "--extend", "ntk").stdout
    assert (
        f"takes {times:.1f} of the model's windows of 512 tokens: --extend ntk, alpha {2 * times:.2f}" in text
    )
    within = call_lcdoc("plan", document(100), "--model", tiny, *ELSEWHERE, "--json")
    assert json.loads(within.stdout)["extension"] is None


def test_a_model_that_is_not_here_is_planned_beyond_its_window_where_that_is_asked_for(call_lcdoc, tiny):
    words = ("plan", "--model-config", tiny / "config.json", "--tokens", "1000", *ELSEWHERE, "--json")
    asked = json.loads(call_lcdoc(*words, "--extend", "auto").stdout)
    assert asked["extension"]["method"] == "self-extend" and asked["chosen"] == "beyond the window"
    silent = json.loads(call_lcdoc(*words).stdout)
    assert silent["extension"] is None and "as if it were extended" in silent["notes"][0]


def test_a_chat_beyond_the_window_remembers_and_forgets(tiny, document):
    reading = Reading(
        [load_document(str(document(1200)))],
        ReadSettings(model=str(tiny), chunk_tokens=100),
        max_new_tokens=64,
    )
    assert reading.plan.extend == "self-extend"

    def ask(keep_turn=False):
        return reading.ask("What now?", Sampling(max_new_tokens=12), lambda text: None, keep_turn=keep_turn)

    first = ask()
    assert ask(keep_turn=True).answer == first.answer  # the reading is what it was, to the bit
    ask(keep_turn=True)
    assert ask().receipt.positions == "self-extend"
    reading.forget_turns()
    assert ask().answer == first.answer


def test_readings_that_share_a_model_each_have_their_own_positions(tiny, document):
    long, short = (load_document(str(document(tokens))) for tokens in (600, 200))
    settings = ReadSettings(model=str(tiny))
    alone = Reading([short], settings, questions=["What?"], max_new_tokens=64)
    wanted = alone.ask("What?", Sampling(max_new_tokens=12), lambda text: None).answer
    from lcdoc.tasks.host import Host

    host, answers = Host(settings), []
    for document_read in (long, short):
        reading = Reading([document_read], settings, questions=["What?"], max_new_tokens=64, host=host)
        answers.append(reading.ask("What?", Sampling(max_new_tokens=12), lambda text: None))
    assert [answer.receipt.positions for answer in answers] == ["ntk", "native"]
    assert answers[1].answer == wanted


def test_an_evaluation_goes_beyond_the_window_only_where_that_is_asked_for(tiny):
    stretches = Stretches(800, 100, 1, ("exact", "int8"))
    settings = ReadSettings(model=str(tiny), chunk_tokens=128)
    with pytest.raises(DoesNotFitError, match="a way beyond it with --extend"):
        PerplexityTest(settings, stretches)
    with pytest.raises(UsageError, match="can't go with --kv-dtype int8"):
        PerplexityTest(replace(settings, extend="self-extend"), stretches)
    with pytest.raises(UsageError, match="mode stock reads nothing beyond the model's window of 512 tokens"):
        PerplexityTest(replace(settings, extend="ntk"), replace(stretches, modes=("exact", "stock")))
    losses = []
    for extend in ("ntk", "self-extend"):
        modes = ("exact", "int8") if extend == "ntk" else ("exact",)
        test = PerplexityTest(replace(settings, extend=extend), replace(stretches, modes=modes))
        losses += [cell.loss for cell in test.run()]
        assert test.report()["settings"]["extend"] == extend
    assert len(set(losses)) == len(losses)


def test_needles_are_looked_for_beyond_the_window_through_the_entry_point(call_lcdoc, tiny, tmp_path):
    words = ("eval", "needle", "--model", tiny, "--lengths", "700", "--depths", "1", "--seeds", "1")
    refused = call_lcdoc(*words, "--mode", "exact")
    assert refused.returncode == 4 and "--extend auto reads it all at a loss" in refused.stderr
    done = call_lcdoc(*words, "--mode", "exact", "--extend", "self-extend", "--json", tmp_path / "found.json")
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "found.json").read_text(encoding="utf-8"))
    assert report["complete"] and report["settings"]["extend"] == "self-extend"
    assert report["cells"][0]["prompt_tokens"] > 512
