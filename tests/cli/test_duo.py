"""`lcdoc ask --mode duo`: the share of heads that stream, a wider window for reading, and what is told of them."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., subprocess.CompletedProcess[str]]
SINK, RECENT, WIDE = 4, 64, 1024
# The parrot has 2 layers of 2 KV heads, with keys and values of 66 channels.
TOKEN_BYTES = 2 * 66 * 4
PROFILE = f"""model: parrot
source: by hand
sink_size: {SINK}
recent_size: {RECENT}
gates: [[0.9, 0.1], [0.8, 0.7]]
"""


@pytest.fixture
def story(work: Path) -> str:
    (work / "story.txt").write_text("Some words of a story.\n" * 200, encoding="utf-8")
    (work / "p.yaml").write_text(PROFILE, encoding="utf-8")
    (work / "wide.yaml").write_text(PROFILE + f"prefill_recent_size: {WIDE}\n", encoding="utf-8")
    return "story.txt"


def ask(lcdoc: Run, story: str, model: str, *words: str) -> dict:
    common = ("--model", model, "--dtype", "float32", "--mode", "duo", "--chunk-tokens", "500", "--json")
    done = lcdoc("ask", story, "What?", *common, *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_gates_below_a_half_stream_unless_a_share_is_asked_for(lcdoc: Run, story: str, parrot: str) -> None:
    for words, streaming in (((), 1), (("--streaming", "75%"), 3), (("--streaming", "0%"), 0)):
        answer = ask(lcdoc, story, parrot, "--profile", "p.yaml", *words)
        plan, receipt = answer["plan"], answer["receipt"]
        assert (plan["num_streaming_heads"], plan["num_retrieval_heads"]) == (streaming, 4 - streaming)
        assert receipt["num_heads"].get("streaming", 0) == streaming
        said = f"{streaming} of 4 heads ({streaming / 4:.0%}) see only the first and last tokens"
        assert (
            (said in receipt["notes"]) == (plan["loss"] == said) == (not receipt["exact"]) == (streaming > 0)
        )
        assert plan["prefill_recent_size"] == plan["recent_size"] == (RECENT if streaming else 0)


def test_a_wider_window_for_reading_is_planned_for_and_given_back(
    lcdoc: Run, story: str, parrot: str
) -> None:
    narrow, wide = (
        ask(lcdoc, story, parrot, "--profile", name, "--streaming", "75%") for name in ("p.yaml", "wide.yaml")
    )
    assert (wide["plan"]["recent_size"], wide["plan"]["prefill_recent_size"]) == (RECENT, WIDE)
    assert wide["memory"]["kv_bytes"] == narrow["memory"]["kv_bytes"]
    assert wide["receipt"]["kv_share_kept"] == narrow["receipt"]["kv_share_kept"]
    read = wide["receipt"]["tokens_read"]
    assert read > 4600 and wide["memory"]["kv_bytes"] > TOKEN_BYTES * (read + 3 * (SINK + RECENT))
    assert wide["memory"]["kv_bytes"] < TOKEN_BYTES * (read + 3 * (SINK + WIDE))


def test_a_share_is_refused_where_it_means_nothing(lcdoc: Run, story: str, parrot: str) -> None:
    for words, said in (
        (("--streaming", "75%"), "--streaming 75% belongs to --mode duo, not auto"),
        (("--mode", "stream", "--streaming", "75%"), "belongs to --mode duo, not stream"),
        (("--mode", "duo", "--streaming", "75%"), "--mode duo needs a head profile"),
        (("--mode", "duo", "--streaming", "75"), "--streaming: streaming must be a share from 0% to 100%"),
    ):
        done = lcdoc("ask", story, "What?", "--model", parrot, "--quiet", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr and done.stderr.count("\n") == 1
