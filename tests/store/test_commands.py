"""`lcdoc store`, and the options that say whether and how much is stored."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from lcdoc.config import ReadSettings, resolve
from lcdoc.documents import load_document
from lcdoc.errors import UsageError
from lcdoc.models.folders import store_folder
from lcdoc.store.store import Store
from lcdoc.tasks.storing import open_store
from lcdoc.tasks.summarize.summarize import Summarizer
from lcdoc.tasks.summarize.wish import Wish

Run = Callable[..., "subprocess.CompletedProcess[str]"]
QUESTION = "Where did the boat go?"


@pytest.fixture(scope="session")
def tiny(write_tiny_model: Callable[..., Path]) -> Path:
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=4096, spread=0.2)


@pytest.fixture
def ask(call_lcdoc: Run, tiny: Path, tmp_path: Path) -> Run:
    options = ("--model", str(tiny), "--chunk-tokens", "200", "--max-new-tokens", "8")
    options += ("--dtype", "float32")

    def run(name: str, *more: str, lines: int = 90) -> "subprocess.CompletedProcess[str]":
        write(tmp_path / name, lines)
        done = call_lcdoc("ask", name, QUESTION, *options, *more)
        assert done.returncode == 0, done.stderr
        return done

    return run


def write(path: Path, lines: int) -> None:
    path.write_text("\n".join(f"On day {day} a boat left for island {day}." for day in range(lines)), "utf-8")


def test_from_the_first_question_to_the_removal(ask: Run, call_lcdoc: Run) -> None:
    assert call_lcdoc("store", "list").stdout.startswith("0 B of ")
    first, again = ask("boats.txt"), ask("boats.txt")
    [warning] = [line for line in first.stderr.splitlines() if "is kept in" in line]
    assert str(store_folder()) in warning and "it holds the document's content" in warning
    assert "came from the store" not in first.stderr and "is kept in" not in again.stderr
    assert " came from the store" in again.stderr and again.stdout == first.stdout
    assert "taken from the store in" in again.stderr and "taken from the store in" not in first.stderr
    ask("more.txt", lines=110)
    listed = call_lcdoc("store", "list").stdout.splitlines()
    assert [line.split()[0] for line in listed[:2]] == ["more.txt", "boats.txt"]
    assert "which holds the documents' content" in listed[-1]
    shown = call_lcdoc("store", "show", "boats.txt").stdout
    assert "document      boats.txt" in shown and "keys, values  float32" in shown
    blocks = [line.split()[1] for line in shown.splitlines() if line.startswith("block ")]
    assert len(blocks) > 3 and all(Path(block).is_file() for block in blocks)
    verified = call_lcdoc("store", "verify")
    assert verified.returncode == 0 and verified.stdout.endswith("blocks, 0 damaged\n")
    removed = call_lcdoc("store", "remove", "boats.txt").stdout
    assert "that other documents share with them stay" in removed
    assert " came from the store" in ask("more.txt", lines=110).stderr
    assert call_lcdoc("store", "remove", "--all").returncode == 0
    assert call_lcdoc("store", "list").stdout.startswith("0 B of ")


def test_damage_is_named(ask: Run, call_lcdoc: Run) -> None:
    ask("boats.txt")
    one, two, *_ = Store(store_folder()).blocks()
    one.path.write_bytes(one.path.read_bytes()[:-1] + b"?")
    two.path.write_bytes(b"")
    verified = call_lcdoc("store", "verify")
    assert verified.returncode == 1 and "2 damaged" in verified.stdout
    assert (
        f"{one.path}: its checksum is wrong" in verified.stdout
        and f"{two.path}: it is no block" in verified.stdout
    )
    assert "1 damaged block; `lcdoc store verify`" in call_lcdoc("store", "list").stdout


def test_pruning_to_a_size(ask: Run, call_lcdoc: Run) -> None:
    ask("boats.txt")
    size = Store(store_folder()).size_bytes
    done = call_lcdoc("store", "prune", "--max-size", f"{size // 2}B")
    assert done.stdout.startswith("removed ") and Store(store_folder()).size_bytes <= size // 2
    assert " came from the store" in ask("boats.txt").stderr


@pytest.mark.parametrize(
    "words, told",
    [
        (["remove"], "name documents to remove, or give --all"),
        (["remove", "gone.pdf"], "nothing is stored of 'gone.pdf'"),
        (["show", "gone.pdf"], "nothing is stored of 'gone.pdf'"),
        (["prune", "--max-size", "50%"], "max_size must be a size above 0 such as 10GB"),
    ],
    ids=["nothing", "remove", "show", "size"],
)
def test_wrong_usage_is_one_line(words: list[str], told: str, call_lcdoc: Run) -> None:
    done = call_lcdoc("store", *words)
    assert done.returncode == 2 and told in done.stderr and len(done.stderr.splitlines()) == 1


def test_turned_off_nothing_is_written_or_used(
    ask: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask("boats.txt", "--store", "off")
    (tmp_path / "lcdoc.yaml").write_text("store: off\n")
    ask("boats.txt")
    (tmp_path / "lcdoc.yaml").unlink()
    monkeypatch.setenv("LCDOC_STORE", "off")
    ask("boats.txt")
    assert not store_folder().exists()
    ask("boats.txt", "--store", "on")
    assert Store(store_folder()).blocks()
    assert "came from the store" not in ask("boats.txt").stderr


def test_the_size_limit_comes_from_every_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lcdoc.yaml").write_text("max_size: 3MiB\n")
    sizes = [
        resolve({}).storing,
        resolve({}, {"LCDOC_MAX_SIZE": "2GB"}).storing,
        resolve({"max_size": "1KB"}).storing,
    ]
    stores = [open_store(settings) for settings in sizes]
    assert [store.limit_bytes for store in stores if store] == [3 << 20, 2 * 10**9, 1000]
    with pytest.raises(UsageError, match="--max-size: max_size must be a size"):
        resolve({"max_size": "much"})


def test_what_is_not_stored_is_said(ask: Run) -> None:
    assert (
        "not stored: what is kept of the document depends on more than its text"
        in ask("boats.txt", "--keep", "50%").stderr
    )
    assert not store_folder().exists()


def test_the_receipt_counts_what_came_from_the_store(ask: Run, json_schema: Callable) -> None:
    ask("boats.txt")
    answer = json.loads(ask("boats.txt", "--json").stdout)
    json_schema("answer").validate(answer)
    assert answer["receipt"]["tokens_from_store"] == answer["receipt"]["tokens_total"] > 1000
    events = [json.loads(line) for line in ask("boats.txt", "--jsonl").stdout.splitlines()]
    for event in events:
        json_schema("events").validate(event)
    [*_, last] = [event for event in events if event["event"] == "prefill"]
    assert last["tokens_stored"] == last["tokens_total"]


@pytest.mark.parametrize(
    ("lines", "texts", "tokens"), [(90, 1, 700), (240, 3, 1400)], ids=["at once", "in parts"]
)
def test_an_interrupted_summary_goes_on_within_what_it_was_reading(
    lines: int, texts: int, tokens: int, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of parts, several are under way; they count by half before they are written about."""
    monkeypatch.setattr("lcdoc.tasks.storing.LEAST_TOKENS", 200)
    write(tmp_path / "boats.txt", lines)
    store, notes = Store(tmp_path / "store", 10**9), list[str]()

    def summarizer(observer: Callable, store: Store | None, restart: bool = True) -> Summarizer:
        settings = ReadSettings(model=str(tiny), chunk_tokens=100)
        documents = [load_document(str(tmp_path / "boats.txt"))]
        tell = {"observer": observer, "on_note": notes.append}
        return Summarizer(documents, settings, Wish("short"), store=store, restart=restart, **tell)

    def interrupt(progress) -> None:
        if progress.phase in ("read", "map") and progress.tokens_done > 700:
            raise KeyboardInterrupt

    whole = summarizer(lambda progress: None, None).run()
    with pytest.raises(KeyboardInterrupt):
        summarizer(interrupt, store).run()
    assert store.blocks()
    notes.clear()
    again = summarizer(lambda progress: None, store, restart=False)
    assert again.run().summary == whole.summary
    from_store = [int(note.split()[0].replace(",", "")) for note in notes if "came from the store" in note]
    assert len(from_store) == texts and tokens - 100 * texts < sum(from_store) < tokens + 200
    assert bool(store.blocks()) == (again.num_parts == 1)
