"""The folder of blocks: what a file says of itself, what goes first, what is left where something fails."""

import os
import stat
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lcdoc.store.block import ROOT, leaves_first, orphans
from lcdoc.store.block_file import DamagedBlock
from lcdoc.store.store import NotStored, Store

TENSORS = {
    "b": torch.arange(600, dtype=torch.bfloat16).view(1, 2, 30, 10)[:, :, 5:20],
    "codes": torch.arange(200, dtype=torch.uint8),
    "none": torch.empty(1, 0, 3, dtype=torch.float16),
    "f": torch.tensor([1.5, -2.0, float("inf")]),
}


def key(number: int) -> str:
    return f"{number:032x}"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store", 10**6)


def put(
    store: Store, number: int, parent: int | None = None, used_s: float = 0, kept: tuple[str, ...] = ()
) -> bool:
    """A block of about 1 kB, last used at that second."""
    above = ROOT if parent is None else key(parent)
    first = store.put(key(number), above, {"tokens": "3"}, TENSORS, kept)
    if used_s:
        os.utime(store.path_of(key(number), above), (used_s, used_s))
    return first


def numbers(store: Store) -> set[int]:
    return {int(block.key, 16) for block in store.blocks()}


def test_a_block_comes_back_bit_by_bit_and_is_plain_safetensors(store: Store) -> None:
    assert put(store, 1)
    assert not put(store, 2, parent=1)
    block = store.open(key(2), key(1))
    assert block is not None
    with block:
        assert block.about["tokens"] == "3"
        for name, tensor in TENSORS.items():
            assert torch.equal(block[name], tensor) and block[name].dtype == tensor.dtype
    stock = load_file(store.path_of(key(2), key(1)))
    assert all(torch.equal(stock[name], tensor) for name, tensor in TENSORS.items())
    assert store.open(key(3), key(1)) is None


def test_only_the_owner_may_read(store: Store) -> None:
    put(store, 1)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert [stat.S_IMODE(block.path.stat().st_mode) for block in store.blocks()] == [0o600]


def test_every_flipped_bit_is_found(store: Store) -> None:
    put(store, 1)
    path = store.path_of(key(1), ROOT)
    whole = path.read_bytes()
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(len(whole), (150,), generator=generator).tolist()
    for place in (*range(0, 110, 5), *places, len(whole) - 1):
        broken = bytearray(whole)
        broken[place] ^= 1 << (place % 8)
        path.write_bytes(broken)
        with pytest.raises(DamagedBlock):
            store.open(key(1), ROOT)
    path.write_bytes(whole)
    assert store.open(key(1), ROOT) is not None


@pytest.mark.parametrize("length", [0, 5, 8, 40, 300, -1])
def test_every_truncation_is_found(store: Store, length: int) -> None:
    put(store, 1)
    path = store.path_of(key(1), ROOT)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(DamagedBlock):
        store.open(key(1), ROOT)


def test_the_block_of_another_text_is_found(store: Store) -> None:
    put(store, 1)
    put(store, 2)
    store.path_of(key(2), ROOT).replace(store.path_of(key(1), ROOT))
    with pytest.raises(DamagedBlock, match="another text or model"):
        store.open(key(1), ROOT)


def test_what_was_not_used_for_longest_goes_and_leaves_before_what_they_depend_on(store: Store) -> None:
    # 1 - 2 - 3 and 1 - 4; 5 - 6. Roots were used last by nobody, which does not matter while others need them.
    tree = {1: None, 2: 1, 3: 2, 4: 1, 5: None, 6: 5}
    for number, parent in tree.items():
        put(store, number, parent, used_s=1000)
    for number, used_s in {3: 4000, 4: 2000, 6: 3000, 1: 10, 2: 20, 5: 30}.items():
        parent = tree[number]
        os.utime(store.path_of(key(number), ROOT if parent is None else key(parent)), (used_s, used_s))
    assert [int(block.key, 16) for block in leaves_first(store.blocks())] == [4, 6, 5, 3, 2, 1]
    assert [int(block.key, 16) for block in leaves_first(store.blocks(), kept=[key(2)])] == [4, 6, 5, 3]


def test_a_new_block_takes_the_room_of_old_ones_but_never_of_its_own_chain(tmp_path: Path) -> None:
    store = Store(tmp_path / "store", 10**6)
    put(store, 1, used_s=1000)
    size = store.size_bytes
    store = Store(tmp_path / "store", 3 * size + size // 2)
    put(store, 2, parent=1, used_s=2000)
    put(store, 3, used_s=3000)
    put(store, 4, parent=3, used_s=4000, kept=(key(3),))
    assert numbers(store) == {1, 3, 4}
    put(store, 5, parent=4, used_s=5000, kept=(key(3), key(4)))
    assert numbers(store) == {3, 4, 5}
    with pytest.raises(NotStored, match="leaves no room; --max-size allows more"):
        put(store, 6, parent=5, kept=(key(3), key(4), key(5)))
    assert numbers(store) == {3, 4, 5} and store.size_bytes <= store.limit_bytes


def test_nothing_is_kept_that_could_not_be_reached(store: Store) -> None:
    put(store, 1)
    store.remove([key(1)])
    with pytest.raises(NotStored, match="removed meanwhile"):
        put(store, 2, parent=1)
    assert numbers(store) == set() and not list(store.folder.glob("*.safetensors*"))


def test_removing_keeps_what_others_depend_on(store: Store) -> None:
    for number, parent in {1: None, 2: 1, 3: 1}.items():
        put(store, number, parent)
    assert store.remove([key(1), key(2)])[0] == 1
    assert numbers(store) == {1, 3}
    assert store.remove([key(1), key(3)])[0] == 2


def test_pruning_removes_what_can_not_be_reached_and_what_killed_processes_left(store: Store) -> None:
    for number, parent in {1: None, 2: 1, 3: 2, 4: None}.items():
        put(store, number, parent)
    store.path_of(key(1), ROOT).unlink()
    assert {int(block.key, 16) for block in orphans(store.blocks())} == {2, 3}
    old, new = (store.folder / f".{name}.safetensors-x" for name in ("old", "new"))
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (time.time() - 3600,) * 2)
    assert store.prune()[0] == 3
    assert numbers(store) == {4} and not old.exists() and new.exists()
    os.utime(new, (time.time() - 3600,) * 2)
    put(store, 4)
    assert not new.exists()
    assert store.prune(limit_bytes=0)[0] == 1
    assert numbers(store) == set()


def test_a_failed_write_leaves_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    import resource

    put(store, 1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, before[1]))
    try:
        with pytest.raises(NotStored, match="File too large"):
            put(store, 2, parent=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert numbers(store) == {1}
    assert sorted(path.name for path in store.folder.iterdir()) == [".lock", store.blocks()[0].path.name]


def test_the_default_limit_is_a_tenth_of_the_disk_and_never_above_ten_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = Store(tmp_path / "not" / "there")
    usage = type("Usage", (), {"free": 5 * 10**9})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert store.limit_bytes == 5 * 10**8
    usage.free = 10**13
    assert store.limit_bytes == 10**10
