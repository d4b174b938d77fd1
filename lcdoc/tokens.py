"""Text to token ids and back: the document with its page map, the prompt around it, the answer's text."""

from array import array
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError
from tokenizers.decoders import DecodeStream

from lcdoc.documents.document import Document, Page

# Stand-ins while a chat template is rendered; private-use characters that no text holds.
DOCUMENT_SLOT = "\ue000document\ue000"
QUESTION_SLOT = "\ue000question\ue000"
ANSWER_SLOT = "\ue000answer\ue000"

# Of nine wordings tried with a small model on six documents none did better than this one.
INSTRUCTION = "Answer the question from the document above."
REPEAT_REQUEST = "Repeat the document above word for word."


@dataclass(frozen=True)
class PageSpan:
    """The tokens start..stop-1 of a tokenised document that a page gave."""

    document: Document
    page: Page
    start: int
    stop: int


@dataclass(frozen=True)
class TokenizedDocument:
    """The text of one or more documents as token ids, with the way back to pages and characters.

    char_starts: for each token, where it starts in its page's text (0 for the page's marker).
    """

    token_ids: list[int]
    char_starts: "array[int]"
    spans: tuple[PageSpan, ...]

    def span_at(self, token_idx: int) -> PageSpan:
        """The page that a token came from. Raises IndexError outside the document."""
        if not 0 <= token_idx < len(self.token_ids):
            raise IndexError(f"token {token_idx} of {len(self.token_ids)}")
        return self.spans[bisect_right(self.spans, token_idx, key=lambda span: span.start) - 1]


def tokenize(tokenizer: Any, documents: Sequence[Document]) -> TokenizedDocument:
    """Tokenises documents page by page. Their text is plain text, whatever it spells: never a special token."""
    pieces: list[tuple[Document, Page, str]] = []
    for document in documents:
        name = f"File: {document.source}\n\n" if len(documents) > 1 else ""
        for page in document.pages:
            if page.text.strip():
                marker = f"[Page {page.label}]\n" if document.unit == "page" else ""
                pieces.append((document, page, name + marker))
                name = ""
    texts = [prefix + page.text + "\n\n" for _, page, prefix in pieces]
    token_ids: list[int] = []
    char_starts = array("L")
    spans = []
    encodings = _encode_plain(tokenizer, texts) if texts else []
    for (document, page, prefix), encoding in zip(pieces, encodings, strict=True):
        start = len(token_ids)
        token_ids.extend(encoding.ids)
        char_starts.extend(max(0, first - len(prefix)) for first, _ in encoding.offsets)
        if len(token_ids) > start:
            spans.append(PageSpan(document, page, start, len(token_ids)))
    return TokenizedDocument(token_ids, char_starts, tuple(spans))


def _encode_plain(tokenizer: Any, texts: list[str]) -> list[Any]:
    return tokenizer(texts, add_special_tokens=False, split_special_tokens=True).encodings


@dataclass(frozen=True)
class Prompt:
    """A conversation over a document, cut where the document, the questions and the answers go.

    head + document + between + question + tail, then for each further turn: turn + question + tail.
    """

    head: str
    between: str
    tail: str
    turn: str
    tokenizer: Any

    @classmethod
    def from_tokenizer(cls, tokenizer: Any) -> "Prompt":
        """From the model's own chat template, or a plain one where it has none."""
        if not tokenizer.chat_template:
            head = tokenizer.bos_token or ""
            return cls(head, "\n\nQuestion: ", "\nAnswer:", "\n\nQuestion: ", tokenizer)
        asked = {"role": "user", "content": f"{DOCUMENT_SLOT}\n\n{INSTRUCTION}\nQuestion: {QUESTION_SLOT}"}
        answered = {"role": "assistant", "content": ANSWER_SLOT}
        again = {"role": "user", "content": QUESTION_SLOT}
        head, between, tail = _cut(_render(tokenizer, [asked]), DOCUMENT_SLOT, QUESTION_SLOT)
        later = _render(tokenizer, [asked, answered, again]).split(ANSWER_SLOT, 1)[1]
        return cls(head, between, tail, later.split(QUESTION_SLOT, 1)[0], tokenizer)

    @classmethod
    def for_request(cls, tokenizer: Any, request: str) -> "Prompt":
        """What is to be done with a document, and the document behind it; its only question is the empty one. The
        request is the system's where the template knows one."""
        if not tokenizer.chat_template:
            return cls(f"{tokenizer.bos_token or ''}{request}\n\n", "", "\nSummary:", "", tokenizer)
        by_user = [{"role": "user", "content": f"{request}\n\n{DOCUMENT_SLOT}"}]
        by_system = [{"role": "system", "content": request}, {"role": "user", "content": DOCUMENT_SLOT}]
        try:
            text = _render(tokenizer, by_system)
        except TemplateError:
            text = ""
        if request not in text or DOCUMENT_SLOT not in text:
            text = _render(tokenizer, by_user)
        head, tail = _cut(text, DOCUMENT_SLOT)
        return cls(head, "", tail, "", tokenizer)

    def head_ids(self) -> list[int]:
        """What stands before the document."""
        return self._template_ids(self.head)

    def question_ids(self, question: str, first: bool) -> list[int]:
        """What stands between the document, or the last answer, and the next answer."""
        before = self.between if first else self.turn
        return [*self._template_ids(before), *self.plain_ids(question), *self._template_ids(self.tail)]

    def between_ids(self) -> list[int]:
        """What stands between the document and the first question."""
        return self._template_ids(self.between)

    def plain_ids(self, text: str) -> list[int]:
        """A question's own words."""
        [encoding] = _encode_plain(self.tokenizer, [text])
        return list(encoding.ids)

    def repeat_ids(self) -> list[int]:
        """A request to write the document out again, up to where the model would begin."""
        return self.question_ids(REPEAT_REQUEST, first=True)

    def _template_ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, split_special_tokens=False).input_ids


def _render(tokenizer: Any, messages: list[dict[str, str]]) -> str:
    return tokenizer.apply_chat_template(
        messages, tokenize=False, add_generation_prompt=True, enable_thinking=False
    )


def _cut(text: str, *slots: str) -> list[str]:
    parts = []
    for slot in slots:
        part, text = text.split(slot, 1)
        parts.append(part)
    return [*parts, text]


class TextStream:
    """Token ids in, whole characters out: a character that spans tokens waits for its last one."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer.backend_tokenizer
        self._stream = DecodeStream(skip_special_tokens=True)

    def push(self, token_id: int) -> str:
        """The text that this token completes, often empty or several characters."""
        return self._stream.step(self._tokenizer, token_id) or ""
