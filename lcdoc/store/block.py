"""The blocks of a store, which depend on each other, and the order in which they may go."""

import heapq
import re
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

# The parent of a text's first block.
ROOT = "0" * 32

FILE_NAME = re.compile(r"([0-9a-f]{32})-([0-9a-f]{32})\.safetensors")


@dataclass(frozen=True)
class Block:
    """A file of the store. parent: the key of the block that its tokens follow; without that it is worth nothing.
    used_s: when it was last read or written, in seconds since the epoch."""

    path: Path
    key: str
    parent: str
    size_bytes: int
    used_s: float

    @classmethod
    def at(cls, path: Path) -> "Block | None":
        """None for a file of another kind, and for one that has just gone."""
        match = FILE_NAME.fullmatch(path.name)
        if match is None:
            return None
        try:
            stat = path.stat()
        except FileNotFoundError:
            return None
        return cls(path, match[1], match[2], stat.st_size, stat.st_mtime)


def file_name(key: str, parent: str) -> str:
    """Key and parent, so that what depends on what is known without opening any."""
    return f"{key}-{parent}.safetensors"


def leaves_first(blocks: Sequence[Block], kept: Collection[str] = ()) -> Iterator[Block]:
    """All blocks but those kept and what these depend on, a block never before those that depend on it; of those that
    may go the one first that was not used for longest."""
    by_key = {block.key: block for block in blocks}
    children = Counter(block.parent for block in blocks)
    free = [(block.used_s, key) for key, block in by_key.items() if not children[key] and key not in kept]
    heapq.heapify(free)
    while free:
        _, key = heapq.heappop(free)
        block = by_key[key]
        yield block
        children[block.parent] -= 1
        parent = by_key.get(block.parent)
        if parent is not None and not children[parent.key] and parent.key not in kept:
            heapq.heappush(free, (parent.used_s, parent.key))


def orphans(blocks: Sequence[Block]) -> list[Block]:
    """Blocks that can't be reached, since one that they depend on is gone."""
    reached = {ROOT}
    by_parent: dict[str, list[Block]] = {}
    for block in blocks:
        by_parent.setdefault(block.parent, []).append(block)
    waiting = [ROOT]
    while waiting:
        for block in by_parent.get(waiting.pop(), ()):
            reached.add(block.key)
            waiting.append(block.key)
    return [block for block in blocks if block.key not in reached]
