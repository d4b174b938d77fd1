"""What the model's window leaves for a document, its questions and their answers, and what is done where it is too
small."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lcdoc.config import ReadSettings
from lcdoc.engine.extension import Extension
from lcdoc.engine.model_shape import ModelShape
from lcdoc.errors import DoesNotFitError
from lcdoc.tasks.extending import choose_extension, is_left_alone, is_too_long
from lcdoc.tokens import Prompt, TokenizedDocument

# Room that an answer must have for a document to count as fitting the window.
MIN_ANSWER_TOKENS = 64

# A question of a chat may be this long where nothing else says how long it will be.
CHAT_QUESTION_TOKENS = 256

FUSION_ADVICE = "--fusion auto reads it in parts, "
EXTENDING_ADVICE = "--extend self-extend reads it all at a loss, "


@dataclass(frozen=True)
class Need:
    """What is to be read. prompt_tokens: all besides the document, for the longest question. keep_turns: whether a
    chat will need the rest of the window. close_gaps_within: the window that what is kept must fit, where the document
    does not. num_questions: of those known, 1 for a chat."""

    document_tokens: int
    prompt_tokens: int
    max_new_tokens: int
    keep_turns: bool
    close_gaps_within: int | None = None
    num_questions: int = 1

    @classmethod
    def of(
        cls, prompt: Prompt, tokens: TokenizedDocument, questions: Sequence[str], max_new_tokens: int
    ) -> "Need":
        """questions: all that are known to come; with none it is a chat."""
        lengths = (len(prompt.question_ids(question, first=True)) for question in questions)
        longest = max(lengths, default=CHAT_QUESTION_TOKENS)
        prompt_tokens = len(prompt.head_ids()) + longest
        return cls(
            len(tokens.token_ids),
            prompt_tokens,
            max_new_tokens,
            keep_turns=not questions,
            num_questions=max(len(questions), 1),
        )

    @property
    def least_tokens(self) -> int:
        """With an answer of the least length."""
        return self.document_tokens + self.prompt_tokens + MIN_ANSWER_TOKENS

    def length_tokens(self, window: int) -> int:
        """With the longest answer, or the turns of a chat."""
        after = self.prompt_tokens + self.max_new_tokens
        return self.document_tokens + (max(after, window // 4) if self.keep_turns else after)


@dataclass(frozen=True)
class Room:
    """What there is room for. capacity_tokens: what the cache is made for. max_new_tokens: the longest answer
    that still fits. note: what to tell of that, or None. extension: how positions go beyond the model's window; None
    where they don't."""

    capacity_tokens: int
    max_new_tokens: int
    note: str | None
    extension: Extension | None = None


def settle(config: Any, settings: ReadSettings, need: Need, shape: ModelShape) -> tuple[Need, Room]:
    """The room there is, and the need with what has to fit the window where the document does not: its positions go
    beyond it, or with --evict or --keep what is kept of it closes up. Else raises as fit_window does."""
    window = context_window(config)
    if need.least_tokens <= window:
        return need, fit_window(config, need)
    length = need.length_tokens(window)
    reach = max(length, need.least_tokens)
    extension = choose_extension(config, settings, reach, shape)
    if extension is not None:
        return need, Room(reach, need.max_new_tokens, None, extension)
    asked = settings.evict is not None or settings.keep is not None
    if not (asked and settings.mode == "auto" and not any(shape.windows)):
        too_long = is_too_long(config, settings, reach, shape)
        advice = FUSION_ADVICE if settings.fusion == "off" and not is_left_alone(settings) else ""
        return need, fit_window(config, need, advice + (EXTENDING_ADVICE if too_long else ""))
    note = f"the document is longer than the model's window of {window:,} tokens: what is kept of it moved up"
    return replace(need, close_gaps_within=window), Room(length, need.max_new_tokens, note)


def fit_window(config: Any, need: Need, advice: str = "") -> Room:
    """The room there is in the model's window; DoesNotFitError where there is too little. advice: to be given first."""
    window = context_window(config)
    needed = need.least_tokens
    if needed > window:
        raise DoesNotFitError(
            f"the document has {need.document_tokens:,} tokens and the question and answer need "
            f"{needed - need.document_tokens:,} more, but the model's window is {window:,} tokens; "
            f"{advice}--keep {window // 2} reads it all and holds what matters most; or choose pages with --pages, or "
            f"a model with a longer window with --model"
        )
    room, max_new_tokens, note = window - need.document_tokens - need.prompt_tokens, need.max_new_tokens, None
    if room < max_new_tokens:
        note = f"the answer is limited to {room:,} tokens: the model's window leaves no more"
        max_new_tokens = room
    used = need.document_tokens + need.prompt_tokens + max_new_tokens
    return Room(window if need.keep_turns else used, max_new_tokens, note)


def context_window(config: Any) -> int:
    """Tokens that the model was trained to attend over."""
    return int(config.get_text_config().max_position_embeddings)
