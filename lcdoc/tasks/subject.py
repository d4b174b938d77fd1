"""What a plan is made for: documents or a number of tokens, and a model that may be known by its config alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lcdoc.documents.document import Document
from lcdoc.errors import DocumentError
from lcdoc.models import load_config, load_config_file, load_tokenizer, resolve
from lcdoc.tasks.ask import CHAT_QUESTION_TOKENS
from lcdoc.tokens import Prompt, TokenizedDocument, tokenize


@dataclass(frozen=True)
class Subject:
    """model: its name. prompt_tokens: what a question takes, with all that stands around it. tokenized: None where
    only a number of tokens is known. installed: whether the model is here, so that its window binds."""

    model: str
    config: Any
    document_tokens: int
    prompt_tokens: int
    tokenized: TokenizedDocument | None
    installed: bool

    @classmethod
    def of_documents(cls, documents: Sequence[Document], model: str | None) -> "Subject":
        """Raises DocumentError for documents without text, ModelError for a model that can't be used."""
        files = resolve(model)
        tokenizer, config = load_tokenizer(files), load_config(files)
        tokenized = tokenize(tokenizer, documents)
        if not tokenized.token_ids:
            raise DocumentError("the document holds no text that the model can read")
        prompt_tokens = len(Prompt.from_tokenizer(tokenizer).head_ids()) + CHAT_QUESTION_TOKENS
        return cls(files.name, config, len(tokenized.token_ids), prompt_tokens, tokenized, True)

    @classmethod
    def of_tokens(cls, tokens: int, model: str | None) -> "Subject":
        files = resolve(model)
        return cls(files.name, load_config(files), tokens, CHAT_QUESTION_TOKENS, None, True)

    @classmethod
    def of_config(cls, tokens: int, path: Path) -> "Subject":
        """path: a model's config.json. Raises UsageError for a file that is none."""
        return cls(str(path), load_config_file(path), tokens, CHAT_QUESTION_TOKENS, None, False)
