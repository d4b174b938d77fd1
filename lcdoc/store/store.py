"""The folder of blocks: written atomically, for their owner alone, and no more of them than there is room for."""

import os
import shutil
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from lcdoc.engine.replacing import replacing
from lcdoc.store.block import ROOT, Block, file_name, leaves_first, orphans
from lcdoc.store.block_file import BlockFile, DamagedBlock, write_block
from lcdoc.store.lock import locked

if TYPE_CHECKING:
    import torch

# By default so much of the disk, as it would be without the store, and never more than so many bytes.
DISK_SHARE = 0.1
MOST_BYTES = 10 * 1000**3

# A block is written in less time; a half one that is older was left by a process that was killed.
STALE_S = 600


class NotStored(Exception):
    """Why a block was not kept, in words."""


class Store:
    """Several processes may use one at a time. limit_bytes: of all blocks together; None for the default."""

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self.folder, self._limit_bytes = folder, limit_bytes

    @property
    def limit_bytes(self) -> int:
        if self._limit_bytes is not None:
            return self._limit_bytes
        there = next(path for path in (self.folder, *self.folder.parents) if path.exists())
        return min(MOST_BYTES, int((shutil.disk_usage(there).free + self.size_bytes) * DISK_SHARE))

    @property
    def size_bytes(self) -> int:
        return sum(block.size_bytes for block in self.blocks())

    def blocks(self) -> list[Block]:
        """All there are."""
        try:
            paths = sorted(self.folder.iterdir())
        except OSError:
            return []
        return [block for block in map(Block.at, paths) if block is not None]

    def path_of(self, key: str, parent: str) -> Path:
        return self.folder / file_name(key, parent)

    def open(self, key: str, parent: str) -> BlockFile | None:
        """The block, whole and used from now on; None where there is none. Raises DamagedBlock for one that is not
        what it should be, OSError where the folder or the disk refuses."""
        path = self.path_of(key, parent)
        try:
            block = BlockFile(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            check(block, key, parent)
        except BaseException:
            block.__exit__()
            raise
        self.touch(path)
        return block

    def touch(self, path: Path) -> None:
        """It counts as used now."""
        with suppress(OSError):  # a folder that can't be written to, or a block that has just gone
            os.utime(path)

    def put(
        self,
        key: str,
        parent: str,
        about: Mapping[str, str],
        tensors: Mapping[str, "torch.Tensor"],
        kept: Collection[str],
    ) -> bool:
        """Writes a block, and makes room for it by removing others but those of the keys kept. Returns whether it is
        the first one of all. Raises NotStored, with nothing of it left."""
        path = self.path_of(key, parent)
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            with ExitStack() as lock, replacing(path) as new:
                write_block(new, {"key": key, "parent": parent, **about}, tensors)
                lock.enter_context(locked(self.folder))  # until the new one has its name
                blocks = self.blocks()
                if parent != ROOT and parent not in {block.key for block in blocks}:
                    raise NotStored("what it depends on was removed meanwhile")
                self._remove_stale()
                others = [block for block in blocks if block.key != key]
                self._make_room(new.stat().st_size, others, {*kept, parent})
        except OSError as error:
            raise NotStored(error.strerror or str(error)) from error
        return not blocks

    def prune(self, limit_bytes: int | None = None) -> tuple[int, int]:
        """Removes what is over the limit, what can't be reached any more and what killed processes left. Returns how
        many files and bytes. Raises OSError."""
        if not self.folder.is_dir():
            return 0, 0
        limit = self.limit_bytes if limit_bytes is None else limit_bytes
        with locked(self.folder):
            gone = self._remove_stale()
            lost = orphans(self.blocks())
            gone += self._remove(leaves_first(lost))
            blocks = self.blocks()
            over = sum(block.size_bytes for block in blocks) - limit
            for block in leaves_first(blocks):
                if over <= 0:
                    break
                gone += self._remove([block])
                over -= block.size_bytes
        return len(gone), sum(gone)

    def remove(self, keys: Collection[str]) -> tuple[int, int]:
        """Removes the blocks of these keys but for those that others depend on. Returns how many and their bytes.
        Raises OSError."""
        if not self.folder.is_dir():
            return 0, 0
        with locked(self.folder):
            blocks = self.blocks()
            others = {block.key for block in blocks} - set(keys)
            gone = self._remove(leaves_first(blocks, kept=others))
            self._remove_stale()
        return len(gone), sum(gone)

    def _make_room(self, size_bytes: int, blocks: Sequence[Block], kept: Collection[str]) -> None:
        """Raises NotStored, with nothing removed, where that does not come to enough."""
        limit, going = self.limit_bytes, []
        over = sum(block.size_bytes for block in blocks) + size_bytes - limit
        for block in leaves_first(blocks, kept):
            if over <= 0:
                break
            going.append(block)
            over -= block.size_bytes
        if over > 0:
            raise NotStored(f"the store's limit of {limit:,} bytes leaves no room; --max-size allows more")
        self._remove(going)

    def _remove(self, blocks: Iterable[Block]) -> list[int]:
        """In this order; returns their sizes."""
        sizes = []
        for block in blocks:
            block.path.unlink(missing_ok=True)
            sizes.append(block.size_bytes)
        return sizes

    def _remove_stale(self) -> list[int]:
        """What killed processes left of blocks; returns the sizes."""
        sizes = []
        for path in self.folder.glob(".*.safetensors-*"):
            stat = path.stat()
            if stat.st_mtime < time.time() - STALE_S:
                path.unlink()
                sizes.append(stat.st_size)
        return sizes


def check(block: BlockFile, key: str, parent: str) -> None:
    """Raises DamagedBlock unless the file holds the block of its name, whole."""
    block.check()
    if (block.about.get("key"), block.about.get("parent")) != (key, parent):
        raise DamagedBlock("it is the block of another text or model")
