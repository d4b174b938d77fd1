import hashlib
import json
import os
from pathlib import Path

import pytest

from lcdoc.models import filehash
from lcdoc.models.filehash import sha256_of
from lcdoc.models.folders import models_folder

pytestmark = pytest.mark.usefixtures("empty_home")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(b"content")
    return path


def test_it_is_read_once(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = sha256_of(file)
    assert digest == hashlib.sha256(b"content").hexdigest()
    monkeypatch.setattr(filehash, "hash_file", lambda path: "read again")
    assert sha256_of(file) == digest


def test_a_changed_file_is_read_again(file: Path) -> None:
    sha256_of(file)
    file.write_bytes(b"changed")  # of the same length
    os.utime(file, ns=(1, 1))
    assert sha256_of(file) == hashlib.sha256(b"changed").hexdigest()


@pytest.mark.parametrize("content", ["", "[]", "{", '{"x": 1}'])
def test_a_broken_record_is_no_obstacle(file: Path, content: str) -> None:
    models_folder().mkdir(parents=True)
    (models_folder() / "hashes.json").write_text(content.replace("x", str(file)), encoding="utf-8")
    assert sha256_of(file) == hashlib.sha256(b"content").hexdigest()


def test_other_files_stay_remembered(file: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.write_bytes(b"other")
    sha256_of(file), sha256_of(other)
    assert len(json.loads((models_folder() / "hashes.json").read_text(encoding="utf-8"))) == 2
