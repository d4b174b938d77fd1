"""Finished parts of a summary, kept until all of it is finished. The file holds text made from the document, and
sentences of it; nobody but its owner may read it."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from lcdoc.engine.replacing import replacing
from lcdoc.models.folders import summaries_folder
from lcdoc.tasks.summarize.node import Node

# Goes up whenever the same settings would make other texts.
FORMAT = 1


class Saved:
    """What one summary has so far. Its file is found again by all that decides the outcome: model, settings, text."""

    def __init__(self, key: dict[str, Any], on_note: Callable[[str], None], restart: bool) -> None:
        """key: what decides the outcome, as JSON. restart: forgets what an earlier run left."""
        digest = hashlib.sha256(json.dumps([FORMAT, key], sort_keys=True).encode()).hexdigest()
        self.path = summaries_folder() / f"{digest[:32]}.json"
        self._on_note = on_note
        self._fails = False
        if restart:
            self.forget()
        self._nodes = self._load()
        self.resumed = 0

    def __len__(self) -> int:
        return len(self._nodes)

    def take(self, name: str) -> Node | None:
        """What an earlier run, or this one, made under this name."""
        node = self._nodes.get(name)
        self.resumed += node is not None
        return node

    def has(self, name: str) -> bool:
        return name in self._nodes

    def put(self, name: str, node: Node) -> None:
        """Kept at once; where that fails, the work goes on without."""
        self._nodes[name] = node
        if self._fails:
            return
        content = {own: node.to_json() for own, node in self._nodes.items()}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with replacing(self.path) as new:
                new.write_text(json.dumps(content), encoding="utf-8")
        except OSError as error:
            self._fails = True
            reason = error.strerror or str(error)
            self._on_note(
                f"{self.path}: finished parts can't be kept ({reason}); an interrupt would lose them"
            )

    def forget(self) -> None:
        """Removes the file."""
        try:
            self.path.unlink(missing_ok=True)
        except OSError as error:
            self._on_note(
                f"{self.path}: can't be removed ({error.strerror or error}); it holds text of the document"
            )

    def _load(self) -> dict[str, Node]:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            return {name: Node.from_json(saved) for name, saved in content.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            self._on_note(f"{self.path}: not a file of finished parts that can be read; beginning anew")
            return {}
