"""Modes with a share of streaming heads: by the profile, and as many drawn at random."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from lcdoc.config import ReadSettings
from lcdoc.engine.buffers import SinkWindowBuffer
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.model_shape import ModelShape
from lcdoc.engine.paged_buffer import PagedBuffer
from lcdoc.engine.profiles import HeadProfile
from lcdoc.engine.reader import Reader
from lcdoc.errors import UsageError
from lcdoc.evaluate.modes import check_modes, first_rung, open_reader, settings_for
from lcdoc.models import load_model, resolve

GATES = ((0.9, 0.1), (0.2, 0.8))


@pytest.fixture
def profile(tmp_path: Path) -> str:
    HeadProfile("tiny", GATES, 4, 32, "made up").save(tmp_path / "tiny.yaml")
    return str(tmp_path / "tiny.yaml")


def split_of(model: object, mode: str, settings: ReadSettings) -> HeadSplit:
    return open_reader(model, mode, settings, 500).cache.layers[0].split  # type: ignore[attr-defined]


def test_the_same_number_of_heads_and_the_same_sizes(tiny_model: Path, profile: str) -> None:
    model = load_model(resolve(str(tiny_model)), device="cpu", attn_implementation="sdpa")
    settings = ReadSettings(profile=profile, recent_size=48)
    duo, drawn = (split_of(model, f"{name}@50%", settings) for name in ("duo", "random"))
    assert duo.streaming == (frozenset({1}), frozenset({0}))
    assert drawn.num_streaming_heads == duo.num_streaming_heads == 2
    assert (drawn.sink_size, drawn.recent_size) == (duo.sink_size, duo.recent_size) == (4, 48)
    assert split_of(model, "random@50%", settings) == drawn, "drawn with a fixed seed"
    assert split_of(model, "random@100%", settings) == split_of(model, "duo@100%", settings)
    shared = replace(settings, streaming="50%")
    assert split_of(model, "duo", shared) == duo
    assert split_of(model, "duo@100%", shared).num_streaming_heads == 4, "the mode's own share counts"


def test_draws_grow_by_new_heads_and_leave_windows_alone() -> None:
    windows = (None, 64) * 8
    drawn = [
        HeadSplit((frozenset(range(count)), *(frozenset(),) * 15), 4, 32).redrawn(windows, 8, seed=0)
        for count in range(9)
    ]
    for count, split in enumerate(drawn):
        assert split.num_streaming_heads == count and (split.sink_size, split.recent_size) == (4, 32)
        assert not any(split.streaming[layer] for layer in range(1, 16, 2))
    for fewer, more in zip(drawn, drawn[1:], strict=False):
        assert all(few <= many for few, many in zip(fewer.streaming, more.streaming, strict=True))
    assert max(len(heads) for heads in drawn[8].streaming) < 8, "spread over the layers"
    assert drawn[8] != HeadSplit(drawn[0].streaming, 4, 32).redrawn(windows, 8, seed=1)


@pytest.mark.parametrize("mode", ["random", "duo@", "random@101%", "duo@half", "random@75"])
def test_a_share_that_is_none(mode: str) -> None:
    with pytest.raises(UsageError, match="streaming must be a share from 0% to 100%, such as 75%, not"):
        check_modes((mode,) if "@" in mode else (mode, "exact"))


def test_other_modes_take_nothing_of_the_profile() -> None:
    settings = ReadSettings(profile="p", streaming="75%", sink_size=4, recent_size=32, chunk_tokens=64)
    for mode in ("exact", "stock", "int8", "snapkv@25%"):
        own = settings_for(mode, settings)
        if mode.startswith("snapkv"):  # its heads' order tells which retrieve
            assert own.profile == "p"
            own = replace(own, profile=None)
        assert (own.profile, own.streaming, own.sink_size, own.recent_size) == (None,) * 4, mode
        assert own.chunk_tokens == 64
    stream = settings_for("stream", settings)
    assert (stream.profile, stream.streaming, stream.sink_size, stream.recent_size) == (None, None, 4, 32)


def test_both_from_end_to_end(run_lcdoc, tiny_model: Path, profile: str, tmp_path: Path) -> None:
    command = ("eval", "needle", "--model", tiny_model, "--lengths", "400", "--depths", "2", "--seeds", "1")
    modes = ("--mode", "exact,duo@50%,random@50%,random@0%")
    result = run_lcdoc(*command, *modes, "--profile", profile, "--json", tmp_path / "needle.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "needle.json").read_text(encoding="utf-8"))
    held = {cell["mode"]: cell["kv_bytes"] for cell in report["cells"]}
    assert held["random@0%"] == held["exact"] > held["duo@50%"] == held["random@50%"]
    answers = {mode: [c["answer"] for c in report["cells"] if c["mode"] == mode] for mode in held}
    assert answers["random@0%"] == answers["exact"]


@pytest.mark.parametrize("mode", ["duo", "duo@50%", "random@50%"])
def test_without_a_profile_it_is_refused_before_the_weights_are_loaded(
    call_lcdoc, tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str
) -> None:
    monkeypatch.setattr("lcdoc.tasks.host.load_model", lambda *args, **kwargs: pytest.fail("loaded"))
    for suite in ("needle", "context"):
        command = ("eval", suite, "--model", tiny_model, "--lengths", "400", "--json", "result.json")
        result = call_lcdoc(*command, "--mode", f"exact,{mode}")
        assert result.returncode == 2 and "needs a head profile" in result.stderr
        assert not (tmp_path / "result.json").exists()


def test_suffixes_go_behind_a_mode_in_any_order() -> None:
    settings = ReadSettings(profile="p", kv_dtype="int4", sparse_prefill=True)
    whole = settings_for("duo@75%+int8+sparse+pages", settings)
    assert (whole.mode, whole.streaming, whole.profile) == ("duo", "75%", "p")
    assert (whole.kv_dtype, whole.sparse_prefill, whole.page_selection) == ("int8", True, "on")
    assert settings_for("duo@75%+pages+int8+sparse", settings) == whole
    assert settings_for("duo@75%", settings) == replace(
        whole, kv_dtype="model", sparse_prefill=False, page_selection="off"
    )
    exact = settings_for("exact+int4", settings)
    assert (exact.mode, exact.kv_dtype, exact.sparse_prefill) == ("auto", "int4", False)
    check_modes(("duo@75%+sparse+pages+int4", "random@50%+int8", "exact+sparse"))
    for wrong in ("duo@75%+fast", "exact+", "+int8", "exact+int8+int4", "exact+sparse+sparse", "stock+pages"):
        with pytest.raises(UsageError, match="for answering by pages.*not "):
            check_modes(("exact", wrong))


def test_all_of_them_at_once_read_and_answer_so(
    write_tiny_model: Callable[..., Path], known_speeds: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lcdoc.tasks.speeds.calibrations_folder", lambda: known_speeds)
    folder = write_tiny_model(digits="joined", vocab_size=500, num_layers=3, window=4096, spread=0.3)
    HeadProfile("deep", ((0.9, 0.1),) * 3, 4, 48, "made up").save(tmp_path / "deep.yaml")
    model = load_model(resolve(str(folder)), device="cpu", attn_implementation="sdpa")
    settings = ReadSettings(profile=str(tmp_path / "deep.yaml"), chunk_tokens=512)
    reader = open_reader(model, "duo@50%+int8+sparse+pages", settings, 3700)
    assert isinstance(reader, Reader)
    reader.read((torch.arange(3600) ** 2 % 400 + 3).tolist())
    assert len(list(reader.decode(lambda logits: int(logits.argmax()), (), 8))) == 8
    held = [(group.kind, buffer) for group, buffer in reader.cache.groups()]
    kinds = [("retrieval", PagedBuffer), ("streaming", SinkWindowBuffer)] * 3
    assert [(kind, type(buffer)) for kind, buffer in held] == kinds
    assert {buffer.kv_dtype for _, buffer in held if isinstance(buffer, PagedBuffer)} == {"int8"}
    assert 0 < reader.cache.sparse.density < 1 and 0 < reader.cache.selection.density < 1


def test_pages_go_behind_any_mode_that_keeps_everything_somewhere() -> None:
    shape = ModelShape(4, 2, 8, 32, 64, 100, (None,) * 4, 0, torch.float32)
    for mode, kv_dtype in (("exact+pages", "model"), ("int8+pages", "int8"), ("exact+sparse+pages", "model")):
        check_modes((mode,))
        paged, short = (first_rung(shape, mode, ReadSettings(), capacity) for capacity in (4000, 2000))
        assert paged.selects_pages and paged.kv_dtype == kv_dtype
        assert paged.sparse == short.sparse == ("sparse" in mode)
        assert not short.selects_pages
    plain = first_rung(shape, "exact", ReadSettings(page_selection="on"), 4000)
    assert not plain.selects_pages and not plain.loss, "a mode takes nothing that is not its own"
    with pytest.raises(UsageError, match="can't go with --mode stream"):
        first_rung(shape, "stream+pages", ReadSettings(), 4000)
