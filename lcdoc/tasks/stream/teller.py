"""Says what is held of a stream: digests, notes and answers, each written over what the model holds at the moment."""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch

from lcdoc.config import Sampling
from lcdoc.engine.heads import HeadSplit
from lcdoc.engine.reader import Reader
from lcdoc.engine.sampling import Sampler
from lcdoc.engine.stream_reader import StreamReader
from lcdoc.tasks.repetition import CircleBreaker
from lcdoc.tasks.stream.notes import Notes
from lcdoc.tasks.stream.writing import write
from lcdoc.tasks.summarize.draft import Draft, has_enough, without_known
from lcdoc.tasks.summarize.inventions import without_inventions
from lcdoc.tasks.summarize.requests import onward_text, summary_request
from lcdoc.tasks.summarize.sentences import MIN_WORDS, Sentence, choose_sentences, cut_sentences
from lcdoc.tasks.summarize.wish import Wish
from lcdoc.tokens import Prompt

# Of a digest or a note, and of several notes made one.
WORDS = 66
REQUEST = summary_request(Wish(), WORDS)
MODEL, DOCUMENT = "model", "document"


class Teller:
    """question: asked each time; without one digests are written. notes: what was told before, as far as it is kept."""

    def __init__(
        self,
        reading: StreamReader,
        tokenizer: Any,
        stop_ids: Collection[int],
        question: str | None,
        sampling: Sampling,
        answer_tokens: int,
        notes_tokens: int,
    ) -> None:
        """answer_tokens: of the longest text. notes_tokens: of the longest notes."""
        self._reading, self._tokenizer, self._stop_ids = reading, tokenizer, stop_ids
        self.question, self._sampling, self._answer_tokens = question, sampling, answer_tokens
        self.notes = Notes(tokenizer, notes_tokens, self._condensed)
        self._prompt = prompt_for(tokenizer, question)

    def answer(self) -> Draft:
        """To the question."""
        assert self.question is not None
        sampler = Sampler(self._sampling.temperature, self._sampling.top_p, self._sampling.seed)
        pick = CircleBreaker(sampler) if self._sampling.break_circles else sampler
        asked = self._prompt.question_ids(self.question, first=True)
        text, cut = self._write(self._reading.reader, [*self._before_ids(), *asked], pick)
        return Draft(text, cut, looped=False)

    def summary(self, new_tokens: int) -> tuple[Draft, str]:
        """Of what is held, and who wrote it. new_tokens: the last of it, of which its own sentences are taken where the
        model writes nothing of use."""
        request = "" if self.question is None else REQUEST
        asked = self._prompt.question_ids(request, first=True)
        text, cut = self._write(self._reading.reader, [*self._before_ids(), *asked], Sampler(), WORDS)
        held = self._decode(self._reading.held.token_ids[len(self._prompt.head_ids()) :])
        known = self.notes.text
        draft = without_known(Draft.of(text, cut, REQUEST), known)
        draft = without_inventions(draft, f"{known}\n\n{held}")
        if draft.usable:
            return draft, MODEL
        last = min(new_tokens, self._num_last)
        new = self._decode(self._reading.held.token_ids[len(self._reading.held) - last :])
        sentences = [Sentence(None, one) for one in cut_sentences(new)]
        whole = [one for one in sentences if len(one.text.split()) >= MIN_WORDS] or sentences
        chosen = choose_sentences(whole, None, WORDS) if whole else []
        return Draft(" ".join(one.text for one in chosen), cut=False, looped=False), DOCUMENT

    @property
    def _num_last(self) -> int:
        """Tokens of the text that are held without a gap, up to the last one."""
        reading = self._reading
        before = len(self._prompt.head_ids())
        if reading.seen_tokens > len(reading.held):
            before = reading.sizes.sink + reading.num_kept
        return len(reading.held) - before

    def _before_ids(self) -> list[int]:
        """The notes, once there is something that only they tell of."""
        if not self.notes.entries or self._reading.seen_tokens == len(self._reading.held):
            return []
        lead, _ = onward_text(self._tokenizer.decode(self.notes.ids))
        return self._prompt.plain_ids(f"\n\n{lead}")

    def _condensed(self, text: str) -> str:
        """One text of several notes, read by itself."""
        prompt = Prompt.for_request(self._tokenizer, REQUEST)
        ids = [*prompt.head_ids(), *prompt.plain_ids(text), *prompt.question_ids("", first=True)]
        capacity = len(ids) + self._answer_tokens
        reader = Reader(self._reading.reader.model, HeadSplit.exact(), capacity_tokens=capacity)
        written, cut = self._write(reader, ids, Sampler(), WORDS)
        draft = without_inventions(Draft.of(written, cut, REQUEST), text)
        if draft.usable:
            return draft.text
        return " ".join(
            one.text
            for one in choose_sentences([Sentence(None, s) for s in cut_sentences(text)], None, WORDS)
        )

    def _write(
        self,
        reader: Reader,
        ids: Sequence[int],
        pick: Callable[[torch.Tensor], int],
        words: int | None = None,
    ) -> tuple[str, bool]:
        def until(text: str) -> bool:
            return words is not None and has_enough(text, words, REQUEST)

        sizes = self._tokenizer, self._stop_ids, self._answer_tokens
        return write(reader, ids, *sizes, pick, until)

    def _decode(self, token_ids: torch.Tensor) -> str:
        return str(self._tokenizer.decode(token_ids, skip_special_tokens=True))


def prompt_for(tokenizer: Any, question: str | None) -> Prompt:
    """What stands around the stream."""
    if question is not None:
        return Prompt.from_tokenizer(tokenizer)
    return Prompt.for_request(tokenizer, REQUEST)


def request_tokens(prompt: Prompt, question: str | None) -> int:
    """What is put to the stream at most, without notes."""
    requests = [""] if question is None else [question, REQUEST]
    longest = max(len(prompt.question_ids(request, first=True)) for request in requests)
    return longest + len(prompt.plain_ids(f"\n\n{onward_text('')[0]}"))
