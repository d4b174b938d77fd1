"""Asking of a document that was read before: the same numbers without a reading, whatever happened to the store."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lcdoc.config import ReadSettings, Sampling
from lcdoc.documents import load_document
from lcdoc.engine.reader import Reader
from lcdoc.store.block import Block
from lcdoc.store.store import Store
from lcdoc.tasks.answer import Answer
from lcdoc.tasks.ask import Reading
from lcdoc.tasks.host import Host
from lcdoc.tasks.opening import open_reading
from lcdoc.tasks.parts_reading import PartsReading

CHUNK = 128
OWN = {"chunk_tokens": CHUNK, "device": "cpu", "dtype": "float32"}
QUESTION = "Where did the boat go?"
WAYS = {
    "exact": {"mode": "exact"},
    "int8": {"kv_dtype": "int8"},
    "int4": {"kv_dtype": "int4"},
    "stream": {"mode": "stream", "sink_size": 8, "recent_size": 200},
}


@pytest.fixture(scope="session")
def tiny(write_tiny_model: Callable[..., Path]) -> Path:
    return write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=4096, spread=0.2)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", 10**9)


def text(first: int, last: int) -> str:
    lines = (
        f"On day {day} boat {day * 37 % 101} left the harbour for island {day}." for day in range(first, last)
    )
    return "\n".join(lines)


class Asked:
    """An answer, the logits that it began with, the tokens that went through the model, and what was told."""

    def __init__(self, reading: Reading, monkeypatch: pytest.MonkeyPatch, question: str = QUESTION) -> None:
        self.forwarded = 0
        forward = Reader._forward

        def counting(reader: Reader, ids: torch.Tensor, num_logits: int = 1) -> torch.Tensor:
            self.forwarded += len(ids)
            return forward(reader, ids, num_logits)

        with monkeypatch.context() as patched:
            patched.setattr(Reader, "_forward", counting)
            reading.read()
            self.read_anew = self.forwarded
            assert reading._reader.logits is not None
            self.logits = reading._reader.logits.clone()
            self.answer: Answer = reading.ask(question, Sampling(max_new_tokens=12), lambda piece: None)
        self.receipt, self.reading = self.answer.receipt, reading


@pytest.fixture(scope="session")
def host_of() -> Callable[[ReadSettings], Host]:
    """One for each model, dtype and budget, so that weights are loaded once."""
    hosts: dict[tuple[object, ...], Host] = {}

    def host(settings: ReadSettings) -> Host:
        form = settings.model, settings.dtype, settings.budget, settings.weights
        return hosts.setdefault(form, Host(settings))

    return host


@pytest.fixture
def ask(
    tiny: Path, host_of: Callable[[ReadSettings], Host], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Asked]:
    """store: None for none. The document is that of the days from 1 to `last`."""

    def run(
        store: Store | None, last: int = 60, notes: list[str] | None = None, model: Path = tiny, **settings
    ) -> Asked:
        path = tmp_path / "boats.txt"
        path.write_text(text(1, last), encoding="utf-8")
        chosen = ReadSettings(**{**OWN, **settings, "model": str(model)})
        reading = Reading(
            [load_document(str(path))],
            chosen,
            host=host_of(chosen),
            max_new_tokens=12,
            questions=[QUESTION],
            on_note=(notes if notes is not None else []).append,
            store=store,
        )
        return Asked(reading, monkeypatch)

    return run


def same(one: Asked, other: Asked) -> bool:
    return torch.equal(one.logits, other.logits) and one.answer.answer == other.answer.answer


@pytest.mark.parametrize("way", WAYS)
def test_asked_again_nothing_is_read_and_all_is_the_same(
    way: str, ask: Callable[..., Asked], store: Store
) -> None:
    notes: list[str] = []
    without = ask(None, **WAYS[way])
    first, again = (ask(store, notes=notes, **WAYS[way]) for _ in range(2))
    total = first.receipt.tokens_total
    assert total > 1500 and without.read_anew == first.read_anew > total
    assert (first.receipt.tokens_from_store, first.reading.tokens_stored) == (0, total)
    assert again.read_anew == 0 and again.receipt.tokens_from_store == total
    assert same(without, first) and same(first, again)
    assert again.answer.memory.kv_bytes == first.answer.memory.kv_bytes
    assert again.receipt.exact == first.receipt.exact == (way == "exact")
    [warning] = notes
    assert str(store.folder) in warning and "it holds the document's content" in warning


def test_the_default_model_goes_on_with_the_very_same_logits(ask: Callable[..., Asked], store: Store) -> None:
    first, again = (ask(store, model=Path("smollm2-135m-instruct"), chunk_tokens=256) for _ in range(2))
    assert again.read_anew == 0 and again.receipt.tokens_from_store == first.receipt.tokens_total > 1000
    assert same(first, again) and first.answer.answer


def test_a_text_that_went_on_is_read_from_there(ask: Callable[..., Asked], store: Store) -> None:
    ask(store, last=45)
    longer = ask(store, last=70)
    whole = longer.receipt.tokens_from_store + len(longer.reading._head_ids)
    assert whole % CHUNK == 0 and whole > 1000
    assert same(ask(None, last=70), longer)
    assert ask(store, last=45).read_anew == ask(store, last=70).read_anew == 0


def test_what_decides_the_numbers_is_told_apart(
    ask: Callable[..., Asked], store: Store, write_tiny_model: Callable[..., Path]
) -> None:
    ask(store)
    other = write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=4096, spread=0.3)
    ways = (
        {"model": other},
        {"dtype": "bfloat16"},
        {"chunk_tokens": 100},
        {"kv_dtype": "int8"},
        {"mode": "stream"},
        {"weights": "int8"},
    )
    assert [ask(store, **way).receipt.tokens_from_store for way in ways] == [0] * len(ways)
    assert all(ask(store, **way).read_anew == 0 for way in ways)


def test_a_budget_or_a_question_decides_nothing(
    ask: Callable[..., Asked], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(store, mode="exact")
    assert ask(store, mode="auto", budget="8GB").read_anew == 0


def test_a_short_text_is_not_worth_it(ask: Callable[..., Asked], store: Store) -> None:
    asked = ask(store, last=30)
    assert asked.receipt.tokens_total < 1000 and not store.blocks() and not asked.reading.not_stored


def test_what_eviction_leaves_is_not_stored_and_said_so(ask: Callable[..., Asked], store: Store) -> None:
    asked = ask(store, keep="50%")
    assert "depends on more than its text" in (asked.reading.not_stored or "") and not store.blocks()


def test_after_a_step_down_nothing_more_is_stored(
    ask: Callable[..., Asked], store: Store, tiny: Path, tmp_path: Path
) -> None:
    path = tmp_path / "boats.txt"
    path.write_text(text(1, 60), encoding="utf-8")
    settings = ReadSettings(**OWN, model=str(tiny))
    reading = Reading([load_document(str(path))], settings, questions=[QUESTION], store=store)
    while reading.plan.kv_dtype == "float32":  # steps that only make chunks smaller come first
        reading._step_down()
    reading.read()
    assert reading.tokens_stored == 0 and not store.blocks()


def damage(block: Block, how: str) -> None:
    data = bytearray(block.path.read_bytes())
    if how == "bit":
        data[len(data) // 2] ^= 4
    elif how == "cut":
        data = data[: len(data) // 3]
    elif how == "empty":
        data = bytearray()
    else:
        data = bytearray(b"something else altogether" * 40)
    block.path.write_bytes(data)


@pytest.mark.parametrize("how", ["bit", "cut", "empty", "foreign"])
def test_a_damaged_block_is_named_read_again_and_made_whole(
    how: str, ask: Callable[..., Asked], store: Store
) -> None:
    notes: list[str] = []
    first = ask(store)
    chain = {block.parent: block for block in store.blocks()}
    third = chain[chain[chain["0" * 32].key].key]
    damage(third, how)
    again = ask(store, notes=notes)
    assert same(first, again) and again.read_anew == CHUNK
    [note] = notes
    assert str(third.path) in note and f"its {CHUNK} tokens are read again and stored anew" in note
    assert ask(store, notes=notes).read_anew == 0 and len(notes) == 1


def test_blocks_swapped_or_gone_are_read_again(ask: Callable[..., Asked], store: Store) -> None:
    first, notes = ask(store), list[str]()
    one, two, three = sorted(store.blocks(), key=lambda block: block.key)[:3]
    one.path.replace(two.path)
    three.path.unlink()
    again = ask(store, notes=notes)
    assert same(first, again) and 0 < again.read_anew <= 3 * CHUNK
    assert len(notes) == 1 and "another text or model" in notes[0]
    assert ask(store).read_anew == 0


def test_a_full_disk_stops_the_storing_and_not_the_answer(ask: Callable[..., Asked], store: Store) -> None:
    import resource

    ask(store, last=40)
    before, notes = resource.getrlimit(resource.RLIMIT_FSIZE), list[str]()
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, before[1]))
    try:
        full = ask(store, last=60, notes=notes)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert same(ask(None), full) and 0 < full.receipt.tokens_from_store < full.receipt.tokens_total
    [note] = notes
    assert "nothing more is stored" in note and "File too large" in note
    assert not list(store.folder.glob(".*safetensors*"))


@pytest.mark.parametrize("folder", ["/proc/lcdoc/store", "a file/store"])
def test_a_folder_that_can_not_be_made_is_said_and_no_more(
    folder: str, ask: Callable[..., Asked], tmp_path: Path
) -> None:
    (tmp_path / "a file").touch()
    notes: list[str] = []
    asked = ask(Store(tmp_path / folder), notes=notes)
    assert same(ask(None), asked)
    assert len(notes) == 1 and "nothing more is stored after 0 tokens" in notes[0]


def test_a_store_that_refuses_is_said_once(
    ask: Callable[..., Asked], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, notes = ask(store), list[str]()

    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr("lcdoc.store.store.BlockFile", refuse)
        assert same(first, ask(store, notes=notes))
    assert notes == [f"{store.folder}: not read from (Permission denied)"]


def test_a_read_only_folder_is_read_from(
    ask: Callable[..., Asked], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(store, last=45)

    def refuse(*args: object, **kwargs: object) -> None:
        raise PermissionError(30, "Read-only file system")

    # What such a file system does, also to root.
    monkeypatch.setattr("lcdoc.store.store.replacing", refuse)
    monkeypatch.setattr(os, "utime", refuse)
    notes: list[str] = []
    asked = ask(store, last=70, notes=notes)
    assert asked.receipt.tokens_from_store > 1000 and len(notes) == 1 and "Read-only file system" in notes[0]
    assert same(ask(None, last=70), asked)


def test_too_little_room_keeps_the_beginning(ask: Callable[..., Asked], store: Store) -> None:
    ask(store)
    small = Store(store.folder.with_name("small"), store.size_bytes // 3)
    notes: list[str] = []
    first, again = ask(small, notes=notes), ask(small)
    assert same(first, again) and 0 < again.receipt.tokens_from_store < again.receipt.tokens_total / 2
    assert small.size_bytes <= small.limit_bytes
    assert "--max-size allows more" in notes[-1]


def test_an_interrupt_costs_no_more_than_a_chunk(
    ask: Callable[..., Asked], store: Store, tiny: Path, tmp_path: Path
) -> None:
    path = tmp_path / "boats.txt"
    path.write_text(text(1, 60), encoding="utf-8")

    def interrupt(progress) -> None:
        if progress.tokens_done > 700:
            raise KeyboardInterrupt

    settings = ReadSettings(**OWN, model=str(tiny))
    reading = Reading(
        [load_document(str(path))], settings, questions=[QUESTION], observer=interrupt, store=store
    )
    with pytest.raises(KeyboardInterrupt):
        reading.read()
    assert reading.tokens_stored == reading.tokens_read > 700
    asked = ask(store)
    assert asked.receipt.tokens_from_store == reading.tokens_read
    assert same(ask(None), asked)


def test_parts_are_not_read_again_for_another_question(
    write_tiny_model: Callable[..., Path], tmp_path: Path, store: Store
) -> None:
    tiny = write_tiny_model(digits="alone", vocab_size=600, num_layers=2, window=512, spread=0.2)
    path = tmp_path / "boats.txt"
    path.write_text(text(1, 75), encoding="utf-8")

    def answer(question: str, store: Store | None) -> Answer:
        settings = ReadSettings(model=str(tiny), chunk_tokens=100)
        documents = [load_document(str(path))]
        reading = open_reading(documents, settings, questions=[question], max_new_tokens=8, store=store)
        assert isinstance(reading, PartsReading)
        return reading.ask(question, Sampling(max_new_tokens=8), lambda piece: None)

    first, other = answer(QUESTION, store), answer("Who left on day 7?", store)
    alone = answer("Who left on day 7?", None)
    assert first.receipt.tokens_from_store == 0
    assert other.receipt.tokens_from_store == other.receipt.tokens_total > 1200
    assert (other.answer, other.receipt.pages_reread) == (alone.answer, alone.receipt.pages_reread)


def test_two_at_once_share_a_store(
    tiny: Path, ask: Callable[..., Asked], tmp_path: Path, warm_lcdoc, cli_env: dict[str, str]
) -> None:
    """Both in a store with room for half of what each would keep, so that each removes what is the other's."""
    from concurrent.futures import ThreadPoolExecutor

    whole = ask(Store(tmp_path / "whole", 10**9))
    limit = Store(tmp_path / "whole").size_bytes * 3 // 2
    (tmp_path / "other.txt").write_text(text(50, 110), encoding="utf-8")
    options = [
        "--model",
        str(tiny),
        "--chunk-tokens",
        "64",
        "--device",
        "cpu",
        "--max-new-tokens",
        "12",
        "--json",
    ]
    command = ["ask", "other.txt", QUESTION, *options]
    alone = warm_lcdoc.run([*command, "--store", "off"], "", cli_env, tmp_path, {})
    with ThreadPoolExecutor(1) as pool:
        shared = Store(Path(cli_env["LCDOC_HOME"]) / "store", limit)
        command += ["--max-size", f"{limit}B"]
        other = pool.submit(warm_lcdoc.run, command, "", cli_env, tmp_path, {})
        while not other.done():
            assert same(whole, ask(shared))
    assert other.result().returncode == 0, other.result().stderr
    answers = [json.loads(done.stdout)["answer"] for done in (other.result(), alone)]
    assert answers[0] == answers[1]
    assert 0 < shared.size_bytes <= limit
    keys = {block.key for block in shared.blocks()} | {"0" * 32}
    assert all(block.parent in keys for block in shared.blocks())
    for block in shared.blocks():
        opened = shared.open(block.key, block.parent)
        assert opened is not None
        with opened:
            pass
