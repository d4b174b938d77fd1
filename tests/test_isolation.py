"""The tests' own walls: no network, in this process or in those it starts, and no folder of the user's."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from lcdoc.config import user_config_path
from lcdoc.models.folders import home_folder

CONNECT = "import socket; socket.create_connection(('127.0.0.1', 9))"


@pytest.mark.parametrize("address", [("127.0.0.1", 9), ("huggingface.co", 443)])
def test_no_socket_is_opened_here(address: tuple[str, int]) -> None:
    with pytest.raises(BaseException, match="a test reached for the network"):
        socket.create_connection(address)
    with socket.socket() as opened, pytest.raises(BaseException, match="a test reached for the network"):
        opened.connect(address)


def test_no_socket_is_opened_by_a_child(cli_env: dict[str, str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CONNECT],
        env=cli_env,
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 1
    assert "a test reached for the network" in done.stderr


def test_processes_may_still_talk_to_each_other() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.send(b"x")
        assert other.recv(1) == b"x"


def test_every_folder_is_a_temporary_one(user_folders: Path) -> None:
    assert user_folders in home_folder().parents
    assert user_folders in user_config_path().parents
    assert not any(name.startswith("LCDOC_") and name != "LCDOC_HOME" for name in os.environ)
