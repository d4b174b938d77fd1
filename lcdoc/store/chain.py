"""The blocks of one reading, one after the other, each found by all that came before it."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from lcdoc.engine.checkpoint import Checkpoint, LayerForm
from lcdoc.engine.memory import AllocationFailed, allocating
from lcdoc.store.block import ROOT
from lcdoc.store.block_file import DamagedBlock
from lcdoc.store.store import NotStored, Store

WARNING = (
    "what is read is kept in {folder}, up to {limit_gb:.1f} GB, so that the next question needs no reading: it "
    "holds the document's content, for you alone; --store off keeps nothing, lcdoc store remove --all deletes it"
)


class Chain:
    """The checkpoints of a text that is read by one model in one way.

    tokens_loaded, tokens_stored: of the tokens counted, those that came from the store, and those that are in it
    without a gap, from the first token on.
    """

    def __init__(
        self,
        store: Store,
        way: Mapping[str, object],
        about: Mapping[str, str],
        counted: range,
        on_note: Callable[[str], None],
    ) -> None:
        """way: all besides the tokens that decides what they leave, as JSON. about: what a listing says of the blocks.
        counted: the document's tokens among those read. on_note hears of damaged blocks, and why no more is stored."""
        self._store, self._about, self._counted, self._on_note = store, about, counted, on_note
        self._way = hashlib.sha256(json.dumps(way, sort_keys=True).encode()).hexdigest()
        self._parent, self._seen_tokens = ROOT, 0
        self._keys: list[str] = []
        self._loads = self._saves = self._whole = True
        self.tokens_loaded = self.tokens_stored = 0

    def load(self, token_ids: Sequence[int], take: Callable[[Checkpoint], None]) -> bool:
        if not self._loads:
            return False
        key = self._key(token_ids)
        try:
            block = self._store.open(key, self._parent)
            if block is None:
                return False
            with block:
                take(Checkpoint(_forms(block.about["layers"]), block))
        except OSError as error:
            self._loads = False
            self._on_note(f"{self._store.folder}: not read from ({error.strerror or error})")
            return False
        except DamagedBlock as error:
            path = self._store.path_of(key, self._parent)
            self._on_note(
                f"{path}: not used, {error}; its {len(token_ids):,} tokens are read again and stored anew"
            )
            return False
        self.tokens_loaded += self._advance(key, len(token_ids), stored=True)
        return True

    def save(self, token_ids: Sequence[int], checkpoint: Checkpoint) -> None:
        key = self._key(token_ids)
        stored = self._saves and self._put(key, len(token_ids), checkpoint)
        self._advance(key, len(token_ids), stored)

    def close(self) -> None:
        """From now on nothing is loaded or saved: the cache is no longer what the way says."""
        self._loads = self._saves = False

    def forget(self) -> None:
        """Removes all of it, but for what others depend on by now."""
        try:
            self._store.remove(self._keys)
        except OSError as error:
            self._on_note(f"{self._store.folder}: blocks can't be removed ({error.strerror or error})")

    def _put(self, key: str, num_tokens: int, checkpoint: Checkpoint) -> bool:
        layers = [form and asdict(form) for form in checkpoint.layers]
        about = {
            **self._about,
            "first_token": str(self._seen_tokens),
            "tokens": str(num_tokens),
            "layers": json.dumps(layers),
        }
        kept = self._keys
        try:
            first = allocating(lambda: self._store.put(key, self._parent, about, checkpoint.tensors, kept))
        except (NotStored, AllocationFailed) as error:
            self._saves = False
            self._on_note(
                f"{self._store.folder}: nothing more is stored after {self.tokens_stored:,} tokens ({error}); the "
                f"reading goes on without"
            )
            return False
        if first:
            limit_gb = self._store.limit_bytes / 1000**3
            self._on_note(WARNING.format(folder=self._store.folder, limit_gb=limit_gb))
        return True

    def _advance(self, key: str, num_tokens: int, stored: bool) -> int:
        """Returns how many of the tokens counted these were."""
        stop = self._seen_tokens + num_tokens
        first, last = max(self._seen_tokens, self._counted.start), min(stop, self._counted.stop)
        counted = max(0, last - first)
        self._parent, self._seen_tokens = key, stop
        self._keys.append(key)
        self._whole = self._whole and stored
        self.tokens_stored += counted if self._whole else 0
        return counted

    def _key(self, token_ids: Sequence[int]) -> str:
        text = f"{self._way} {self._parent} {','.join(map(str, token_ids))}"
        return hashlib.sha256(text.encode()).hexdigest()[: len(ROOT)]


def _forms(layers: str) -> tuple[LayerForm | None, ...]:
    return tuple(form and LayerForm(**form) for form in json.loads(layers))
