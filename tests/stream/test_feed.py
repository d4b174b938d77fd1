"""The pipe's queue, and the journal of what was taken out of it."""

import os
import threading
import time
from pathlib import Path

import pytest

from lcdoc.errors import LcdocError
from lcdoc.tasks.stream.feed import READ_BYTES, Feed
from lcdoc.tasks.stream.journal import Journal


def wait_until(done: object, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def drain(feed: Feed) -> bytes:
    data = b""
    while not feed.ended:
        data += feed.take(0.05)
    return data


def test_a_full_queue_makes_the_writer_wait_and_loses_nothing() -> None:
    source, sink = os.pipe()
    data = os.urandom(1 << 20)
    written = []

    def write() -> None:
        for start in range(0, len(data), 4096):
            os.write(sink, data[start : start + 4096])
            written.append(4096)
        os.close(sink)

    writer = threading.Thread(target=write)
    feed = Feed(source, limit_bytes=100_000)
    feed.start()
    writer.start()
    wait_until(lambda: feed.waiting_bytes >= 100_000)
    time.sleep(0.2)
    assert feed.waiting_bytes < 100_000 + READ_BYTES
    assert sum(written) < len(data)  # what is not taken stays with the writer
    assert feed.lag_s >= 0.2
    assert drain(feed) == data and feed.taken_bytes == len(data)
    assert feed.lag_s == 0.0
    writer.join()


def test_the_journal_gives_back_what_was_not_saved(tmp_path: Path) -> None:
    source, sink = os.pipe()
    journal = Journal(tmp_path / "s.journal")
    feed = Feed(source, journal)
    feed.start()
    os.write(sink, b"saved and not saved")
    taken = b""
    while len(taken) < 19:
        taken += feed.take(1.0)
    journal.forget(5)
    os.write(sink, b", and later")
    wait_until(lambda: journal.stop == 30)
    assert (tmp_path / "s.journal").stat().st_mode & 0o777 == 0o600
    os.close(sink)
    again = Feed(os.open(os.devnull, os.O_RDONLY), Journal(tmp_path / "s.journal"), 5)
    again.start()
    assert drain(again) == b" and not saved, and later"
    assert again.taken_bytes == 30


def test_another_file_is_no_journal(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("my own notes, which are longer than a journal's first line")
    with pytest.raises(LcdocError, match="is no journal of lcdoc's"):
        Journal(tmp_path / "mine")
    assert (tmp_path / "mine").read_text().startswith("my own")
