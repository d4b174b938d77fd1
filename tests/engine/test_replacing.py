"""Files written anew: the old one or the new one, never half of either."""

from pathlib import Path

import pytest

from lcdoc.engine.replacing import replacing
from lcdoc.errors import LcdocError


@pytest.mark.parametrize("mode", [0o600, 0o644])
def test_the_new_file_takes_the_place_of_the_old_at_once(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "rates.json"
    path.write_text("old", encoding="utf-8")
    with replacing(path, mode=mode) as new:
        new.write_text("new", encoding="utf-8")
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_text(encoding="utf-8") == "new" and path.stat().st_mode & 0o777 == mode
    assert list(tmp_path.iterdir()) == [path]


def test_what_fails_half_way_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text("old", encoding="utf-8")
    with pytest.raises(KeyboardInterrupt), replacing(path) as new:
        new.write_text("half", encoding="utf-8")
        raise KeyboardInterrupt
    assert path.read_text(encoding="utf-8") == "old" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_is_not_there_is_told_in_the_words_given(tmp_path: Path) -> None:
    path = tmp_path / "none" / "x.yaml"
    refusal = pytest.raises(LcdocError, match=r"x\.yaml: the profile can't be written: No such file")
    with refusal, replacing(path, "the profile"):
        pytest.fail("there is nothing to write to")
    with pytest.raises(FileNotFoundError), replacing(path):
        pytest.fail("there is nothing to write to")
