"""What a plan is made for: documents or a number of tokens, and a model that may be known by its config alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcdoc.documents.document import Document
from lcdoc.errors import DocumentError
from lcdoc.models import ModelFiles, load_config, load_config_file, load_tokenizer, resolve
from lcdoc.tasks.room import CHAT_QUESTION_TOKENS
from lcdoc.tokens import Prompt, TokenizedDocument, tokenize


@dataclass(frozen=True)
class Subject:
    """model: its name. files: where it is; None for one that isn't here. prompt_tokens: what a question takes, with all
    that stands around it. tokenized: None where only a number of tokens is known."""

    model: str
    files: ModelFiles | None
    config: Any
    document_tokens: int
    prompt_tokens: int
    tokenized: TokenizedDocument | None

    @property
    def installed(self) -> bool:
        """Whether the model is here, so that its window binds."""
        return self.files is not None

    @classmethod
    def of_documents(cls, documents: Sequence[Document], model: str | None) -> "Subject":
        """Raises DocumentError for documents without text, ModelError for a model that can't be used."""
        files = resolve(model)
        tokenizer, config = load_tokenizer(files), load_config(files)
        tokenized = tokenize(tokenizer, documents)
        if not tokenized.token_ids:
            raise DocumentError("the document holds no text that the model can read")
        prompt_tokens = len(Prompt.from_tokenizer(tokenizer).head_ids()) + CHAT_QUESTION_TOKENS
        return cls(files.name, files, config, len(tokenized.token_ids), prompt_tokens, tokenized)

    @classmethod
    def of_tokens(cls, tokens: int, model: str | None) -> "Subject":
        files = resolve(model)
        return cls(files.name, files, load_config(files), tokens, CHAT_QUESTION_TOKENS, None)

    @classmethod
    def of_config(cls, tokens: int, path: Path) -> "Subject":
        """path: a model's config.json. Raises UsageError for a file that is none."""
        return cls(str(path), None, load_config_file(path), tokens, CHAT_QUESTION_TOKENS, None)
