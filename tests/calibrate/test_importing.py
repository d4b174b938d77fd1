"""Gates measured elsewhere, and the shipped profiles made of them."""

import shutil
from pathlib import Path

import pytest

from lcdoc.calibrate.importing import import_tsv, read_tsv
from lcdoc.engine.profiles import load_profile
from lcdoc.errors import UsageError

GATES = Path(__file__).parents[1] / "data" / "gates"
TSVS = sorted(GATES.glob("*.tsv"))
SIZES = '{"sink_size": 16, "recent_size": 64, "num_steps": 5}'


@pytest.mark.parametrize("path", TSVS, ids=lambda path: path.stem)
def test_shipped_profiles_are_what_was_published(path: Path) -> None:
    shipped, imported = load_profile(path.stem), import_tsv(path, "model")
    numbers = [[float(cell) for cell in line.split()] for line in path.read_text().splitlines()]
    assert [len(row) for row in shipped.gates] == [len(row) for row in numbers]
    for row, published in zip(shipped.gates, numbers, strict=True):
        for gate, number in zip(row, published, strict=True):
            assert abs(gate - min(max(number, 0.0), 1.0)) <= 0.0005 + 1e-12
    assert (
        (shipped.sink_size, shipped.recent_size) == (imported.sink_size, imported.recent_size) == (128, 256)
    )
    assert shipped.num_streaming == imported.num_streaming > 0
    assert shipped.measured is not None and imported.measured is not None
    assert imported.measured.items() <= shipped.measured.items()


def test_six_profiles_are_shipped_from_files_that_leave_0_to_1() -> None:
    assert len(TSVS) == 6
    assert any("\t-" in path.read_text() for path in TSVS)


def test_gates_are_clamped(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("-1.4e-3\t1.002\n0.5\t1e-1\n\n")
    assert read_tsv(tmp_path / "a.tsv") == ((0.0, 1.0), (0.5, 0.1))


@pytest.mark.parametrize("name", ["full_attention_heads.json", "config.json"])
def test_the_training_beside_the_gates(tmp_path: Path, name: str) -> None:
    shutil.copy(TSVS[0], tmp_path / "full_attention_heads.tsv")
    (tmp_path / name).write_text(SIZES)
    profile = import_tsv(tmp_path / "full_attention_heads.tsv", "mine")
    assert (profile.model, profile.sink_size, profile.recent_size) == ("mine", 16, 64)
    assert profile.measured is not None and profile.measured["steps"] == 5
    profile.save(tmp_path / "mine.yaml")
    assert load_profile(str(tmp_path / "mine.yaml")).order[:5] == profile.order[:5]


@pytest.mark.parametrize(
    ("tsv", "training", "said"),
    [
        ("0.5\t0.5\n0.5\tmany\n", SIZES, "a.tsv, line 2: gates must be numbers"),
        ("0.5\t0.5\n\n0.5\n", SIZES, "a.tsv, line 3: 1 gates, but 2 in the rows before"),
        ("0.5\t7\n", SIZES, "a.tsv, line 1: a gate is far outside"),
        ("0.5\tnan\n", SIZES, "a.tsv, line 1: a gate is far outside"),
        ("\n", SIZES, "a.tsv: holds no gates"),
        ("0.5\n", None, "a.tsv: neither a.json nor config.json is beside it"),
        ("0.5\n", "{", "a.json: not valid JSON"),
        ("0.5\n", "[]", "a.json: must be one JSON object"),
        ("0.5\n", '{"sink_size": 4}', "beside .*a.tsv: recent_size must be a whole number"),
        (
            "0.5\n",
            '{"sink_size": -1, "recent_size": 4}',
            "sink_size must be a whole number of tokens, not -1",
        ),
        (
            "0.5\n",
            '{"sink_size": 1, "recent_size": 0}',
            "recent_size must be a whole number of tokens, not 0",
        ),
    ],
    ids=range(11),
)
def test_what_cannot_be_imported(tmp_path: Path, tsv: str, training: str | None, said: str) -> None:
    (tmp_path / "a.tsv").write_text(tsv)
    if training is not None:
        (tmp_path / "a.json").write_text(training)
    with pytest.raises(UsageError, match=said):
        import_tsv(tmp_path / "a.tsv", "model")


def test_a_missing_file_and_one_that_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="gone.tsv: can't be read: No such file"):
        import_tsv(tmp_path / "gone.tsv", "model")
    (tmp_path / "a.tsv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="a.tsv: can't be read: not UTF-8 text"):
        import_tsv(tmp_path / "a.tsv", "model")
