"""Head profiles as files: what is written is read again, and what is no profile is refused by name."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lcdoc.engine.profiles import WEIGHT_POWER, HeadProfile, load_profile, shipped_profiles
from lcdoc.errors import LcdocError, UsageError

PROFILE = HeadProfile(
    "owner/Tiny-1B",
    ((0.0, 0.5, 1.0), (0.125, 0.998, 0.25)),
    4,
    64,
    "made up: “by hand”",
    256,
    {"data": "passkeys", "steps": 100, "date": "2024-10-14", "loss": [[0, 1.5], [100, 0.25]], "rope": None},
)


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    path = tmp_path / "tiny.yaml"
    path.write_text("what was there before", encoding="utf-8")
    PROFILE.save(path)
    assert load_profile(str(path)) == PROFILE
    assert list(tmp_path.iterdir()) == [path]
    assert "  - [0.125, 0.998, 0.250]\n" in path.read_text(encoding="utf-8")


def test_what_landed_is_saved_too(tmp_path: Path) -> None:
    looked = replace(PROFILE, landed=((0.4, 0.8, 1.0), (0.2, 0.6, 0.0)))
    looked.save(tmp_path / "tiny.yaml")
    assert load_profile(str(tmp_path / "tiny.yaml")) == looked


def test_what_is_not_known_is_not_written(tmp_path: Path) -> None:
    bare = replace(PROFILE, prefill_recent_size=None, measured=None)
    bare.save(tmp_path / "tiny.yaml")
    keys = yaml.safe_load((tmp_path / "tiny.yaml").read_text(encoding="utf-8")).keys()
    assert keys == {"model", "source", "sink_size", "recent_size", "gates"}
    assert load_profile(str(tmp_path / "tiny.yaml")) == bare


def test_rope_factors_come_back_as_they_were_written(tmp_path: Path) -> None:
    profile = replace(PROFILE, rope={"factors": [1.0, 2.5], "attention_factor": 1.1})
    profile.save(tmp_path / "tiny.yaml")
    assert load_profile(str(tmp_path / "tiny.yaml")) == profile
    (tmp_path / "bad.yaml").write_text(PROFILE.to_yaml() + "rope: 3\n", encoding="utf-8")
    with pytest.raises(UsageError, match="rope must hold 'name: value' lines"):
        load_profile(str(tmp_path / "bad.yaml"))


def test_other_keys_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(PROFILE.to_yaml() + "colour: {shades: [1, 2]}\n", encoding="utf-8")
    assert load_profile(str(tmp_path / "tiny.yaml")) == PROFILE


def test_a_profile_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(LcdocError, match="none/x.yaml: the profile can't be written: No such file"):
        PROFILE.save(tmp_path / "none" / "x.yaml")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"gates": [[0.5], [0.5, 0.5]]}, "rows of equal length"),
        ({"gates": [[0.5, 1.5]]}, "from 0 to 1"),
        ({"gates": [[0.5, float("nan")]]}, "from 0 to 1"),
        ({"gates": "all"}, "rows of equal length"),
        ({"landed": [[0.5], [0.5]]}, "landed must have as many rows and columns"),
        ({"landed": [[0.5, 2]]}, "every number of landed must be from 0 to 1"),
        ({"sink_size": 1.5}, "whole numbers of tokens"),
        ({"prefill_recent_size": 63}, "prefill_recent_size must be 64 tokens"),
        ({"prefill_recent_size": "wide"}, "prefill_recent_size must be 64 tokens"),
        ({"measured": "yesterday"}, "measured must hold"),
    ],
    ids=[
        "ragged",
        "above 1",
        "nan",
        "no rows",
        "other shape",
        "landed above 1",
        "fraction",
        "narrower",
        "words",
        "measured",
    ],
)
def test_what_is_no_profile(changes: dict[str, object], said: str) -> None:
    data = yaml.safe_load(PROFILE.to_yaml()) | changes
    with pytest.raises(UsageError, match=f"here.yaml.*{said}"):
        HeadProfile.from_dict(data, "here.yaml")


def test_the_lowest_gates_stream_first() -> None:
    assert PROFILE.order == [(0, 0), (1, 0), (1, 2), (0, 1), (1, 1), (0, 2)]
    assert PROFILE.streaming(3).streaming == (frozenset({0}), frozenset({0, 2}))
    assert PROFILE.num_streaming == 3


def test_what_landed_decides_between_gates_that_are_alike() -> None:
    looked = HeadProfile("m", ((1.0, 0.96, 0.46), (0.98, 0.899, 0.54)), 4, 64, "made up")
    assert looked.order == [(0, 2), (1, 2), (1, 1), (0, 1), (1, 0), (0, 0)]
    looked = replace(looked, landed=((0.2, 0.4, 1.0), (0.0, 0.6, 0.8)))
    assert looked.order == [(0, 2), (1, 2), (1, 1), (1, 0), (0, 0), (0, 1)]
    assert looked.num_streaming == 1


def test_equal_gates_are_taken_over_all_layers() -> None:
    equal = replace(PROFILE, gates=((1.0,) * 4,) * 8)
    assert equal.streaming(8).streaming == (frozenset({0}),) * 8


def test_layers_with_a_window_of_their_own_have_no_head_to_choose() -> None:
    windowed = PROFILE.for_windows((None, 32))
    assert windowed.order == [(0, 0), (0, 1), (0, 2)]
    assert windowed.num_streaming == 1
    assert windowed.streaming(2).streaming == (frozenset({0, 1}), frozenset())


def test_heads_weigh_by_their_rank_and_alike_where_all_layers_have_windows() -> None:
    assert PROFILE.head_weights == tuple(
        tuple((place / 6) ** WEIGHT_POWER for place in row) for row in ((1, 4, 6), (2, 5, 3))
    )
    assert PROFILE.for_windows((32, 32)).head_weights == ((1.0,) * 3,) * 2


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_load_and_tell_their_licence(name: str) -> None:
    profile = load_profile(name.upper())
    assert profile.model.rpartition("/")[2].lower() == name
    assert profile.measured is not None and profile.measured["steps"] > 0
    if "licence" not in profile.measured:  # one of lcdoc's own
        assert len(profile.measured["loss"]) == profile.measured["steps"]
        return
    notice = shipped_profiles()[name].with_name("NOTICE").read_text(encoding="utf-8")
    assert f"{name}.yaml" in notice and "Copyright (c) 2024 MIT HAN Lab" in notice
