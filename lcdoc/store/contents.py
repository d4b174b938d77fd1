"""What the store holds, by document: for people, who know documents and not blocks."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lcdoc.store.block import Block
from lcdoc.store.block_file import BlockFile, DamagedBlock


@dataclass(frozen=True)
class Stored:
    """A document read by a model. sources: as they were named. blocks: written when it was read; what it shares with
    one that was read before counts there. tokens: as many as these blocks hold."""

    sources: tuple[str, ...]
    model: str
    dtype: str
    tokens: int
    blocks: tuple[Block, ...]

    @property
    def size_bytes(self) -> int:
        return sum(block.size_bytes for block in self.blocks)

    @property
    def used_s(self) -> float:
        return max(block.used_s for block in self.blocks)

    @property
    def name(self) -> str:
        return ", ".join(self.sources)


def list_stored(blocks: Iterable[Block]) -> tuple[list[Stored], list[tuple[Block, str]]]:
    """The documents, the last used first; and the blocks that don't say what they are of, each with the reason."""
    groups: dict[tuple[tuple[str, ...], str, str], list[tuple[Block, int]]] = {}
    nameless = []
    for block in blocks:
        try:
            with BlockFile(block.path) as file:
                about = file.about
            of = tuple(map(str, json.loads(about["sources"]))), about["model"], about["dtype"]
            groups.setdefault(of, []).append((block, int(about["tokens"])))
        except FileNotFoundError:
            continue  # another process has removed it
        except (DamagedBlock, OSError, KeyError, ValueError, TypeError) as error:
            nameless.append((block, str(error)))
    stored = [
        Stored(*of, sum(tokens for _, tokens in found), tuple(block for block, _ in found))
        for of, found in groups.items()
    ]
    return sorted(stored, key=lambda one: -one.used_s), nameless


def named(stored: Sequence[Stored], name: str) -> list[Stored]:
    """Those of this document, or of several with it among them; by its full name or the last part of its path."""
    return [
        one for one in stored if any(name in (source, source.rsplit("/", 1)[-1]) for source in one.sources)
    ]
