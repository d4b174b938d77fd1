"""A document's tokens, to be read in a bench instead of random ones."""

from hashlib import sha256
from pathlib import Path
from typing import Any

from lcdoc.bench.subject import Subject
from lcdoc.documents import load_document
from lcdoc.errors import UsageError
from lcdoc.models import load_tokenizer
from lcdoc.tokens import tokenize


class TextIds:
    """Called as random_ids, it gives the first tokens of a document."""

    def __init__(self, source: str, subject: Subject, max_tokens: int) -> None:
        """max_tokens: the most that will be asked for. Raises DocumentError for a file that can't be read, UsageError
        for one with fewer tokens, or a model without a tokenizer."""
        if subject.files is None:
            raise UsageError(f"--text {source} needs a real model: random weights have no tokenizer")
        document = load_document(source)
        self._ids = tokenize(load_tokenizer(subject.files), [document]).token_ids
        if len(self._ids) < max_tokens:
            raise UsageError(
                f"{source} has {len(self._ids):,} tokens, fewer than the {max_tokens:,} of --lengths; give a longer "
                f"text or smaller lengths"
            )
        text = "".join(page.text for page in document.pages)
        self.told = {"file": Path(source).name, "text_sha256": sha256(text.encode()).hexdigest()}

    def __call__(self, model: Any, length: int) -> list[int]:
        return list(self._ids[:length])
